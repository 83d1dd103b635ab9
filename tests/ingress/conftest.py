"""The real service on a free port: inside the test's process behind any of its doors, or as a program of its own."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import redis
from sqlalchemy.engine import make_url

from receiver.settings import Settings, made
from tests.conftest import Servers
from tests.databases import Databases, execute
from tests.ingress.accounts import Account, make_accounts
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.ingress.serving import Serving, serving
from tests.ingress.shop import EFFECTS, build

Start = Callable[..., AbstractAsyncContextManager[Serving]]
LIMIT = 64 * 1024
"""Bytes of a body, so that a test need not send a megabyte."""


@pytest.fixture(scope="session")
def accounts() -> Mapping[str, Account]:
    """An account of each provider."""
    return make_accounts()


@pytest.fixture
def ledger(database_url: str, redis_url: str) -> Ledger:
    return Ledger(database_url, redis_url)


@pytest.fixture
def settings(accounts: Mapping[str, Account], ledger: Ledger) -> Settings:
    """All four providers."""
    return settings_of(accounts, ledger)


@pytest.fixture
def start(settings: Settings) -> Start:
    """Starts the service with handlers for payments, behind a door of choice."""

    @asynccontextmanager
    async def run(door: str = "fast", **changes: object) -> AsyncIterator[Serving]:
        changed = settings.model_copy(update=changes)
        async with serving(build(changed), changed, door) as served:
            yield served

    return run


@pytest.fixture(scope="module")
def own_stores(servers: Servers, databases: Databases) -> Iterator[Ledger]:
    """A database and an empty Redis that the tests of one file share."""
    url = databases.make_migrated()
    execute(url, EFFECTS)
    # The last logical database; those of single tests are taken in turn, from the first.
    redis_url = make_url(servers.redis_url).set(database="15").render_as_string(hide_password=False)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    yield Ledger(url, redis_url)
    databases.give_back(url)


@pytest.fixture(scope="module")
def program(accounts: Mapping[str, Account], own_stores: Ledger) -> Iterator[Program]:
    """The receiver as a program that serves all four providers; one for the tests of one file."""
    folder = Path(tempfile.mkdtemp(prefix="receiver-"))
    made_here = Program(
        folder,
        {
            "database_url": own_stores.database_url,
            "redis_url": own_stores.redis_url,
            "port": 0,
            "operator_port": 0,
            "body_limit": 1_048_576,
        },
        {name: account.settings for name, account in accounts.items()},
    )
    try:
        made_here.start("serve")
        yield made_here
    finally:
        made_here.stop()
        shutil.rmtree(folder, ignore_errors=True)


def settings_of(accounts: Mapping[str, Account], ledger: Ledger, **more: object) -> Settings:
    """Settings for the accounts, without a look at the environment."""
    sources = {name: dict(account.settings) for name, account in accounts.items()}
    given: dict[str, object] = {
        "database_url": ledger.database_url,
        "redis_url": ledger.redis_url,
        "body_limit": LIMIT,
        "sources": sources,
        **more,
    }
    return made(**given)
