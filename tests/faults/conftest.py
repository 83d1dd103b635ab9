"""Servers to mistreat, the service on them, and the oracle after every fault."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import redis

from receiver.embedded import EmbeddedServers
from receiver.settings import Settings
from receiver.storage import migrate
from tests.databases import execute, with_database
from tests.faults.oracle import QUIET, violations
from tests.ingress.accounts import Account, make_accounts
from tests.ingress.conftest import settings_of
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.ingress.serving import Serving, serving
from tests.ingress.shop import EFFECTS, build

Start = Callable[..., AbstractAsyncContextManager[Serving]]


@pytest.fixture(scope="session")
def accounts() -> Mapping[str, Account]:
    """An account of each provider."""
    return make_accounts()


@pytest.fixture(scope="session")
def victims() -> Iterator[EmbeddedServers]:
    """Servers of our own: one pair for all faults, since a new cluster each would take too long."""
    folder = Path(tempfile.mkdtemp(prefix="receiver-faults-"))
    folder.chmod(0o755)
    try:
        with EmbeddedServers(folder / "servers", postgres_settings={"fsync": "off"}) as running:
            execute(running.database_url, "CREATE DATABASE fault_template")
            made = with_database(running.database_url, "fault_template")
            migrate.upgrade(made)
            execute(made, EFFECTS)
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ledger(victims: EmbeddedServers, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """A database of the test's own on healthy servers, and an empty Redis."""
    victims.postgres.start()
    victims.valkey.start()
    name = f"fault_{abs(hash(request.node.nodeid))}"
    execute(victims.database_url, f"CREATE DATABASE {name} TEMPLATE fault_template")
    with redis.Redis.from_url(victims.redis_url) as client:
        client.flushall()
        client.config_resetstat()
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
    yield Ledger(with_database(victims.database_url, name), victims.redis_url)
    victims.postgres.start()
    execute(victims.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(accounts: Mapping[str, Account], ledger: Ledger) -> Settings:
    """All four providers; answers are not waited for as long as usual."""
    return settings_of(accounts, ledger, answer_deadline=1.5)


@pytest.fixture
def start(settings: Settings) -> Start:
    """Starts the service in this process."""

    @asynccontextmanager
    async def run(**changes: object) -> AsyncIterator[Serving]:
        changed = settings.model_copy(update=changes)
        async with serving(build(changed), changed) as served:
            yield served

    return run


@pytest.fixture
def program(accounts: Mapping[str, Account], ledger: Ledger, tmp_path: Path) -> Iterator[Program]:
    """The folder of a program; nothing runs yet."""
    made = program_on(tmp_path / "program", accounts, ledger)
    yield made
    made.stop()


def program_on(folder: Path, accounts: Mapping[str, Account], ledger: Ledger, **more: object) -> Program:
    """A program with all four providers on these stores."""
    given = {"database_url": ledger.database_url, "redis_url": ledger.redis_url, "port": 0, "operator_port": 0}
    return Program(folder, {**given, **more}, {name: account.settings for name, account in accounts.items()})


async def ask_oracle(ledger: Ledger, acknowledged: Iterable[str], *, dead: bool = False) -> None:
    """Once all is quiet nothing may be wrong. Somebody must be working.

    Args:
        ledger: the database.
        acknowledged: external ids.
        dead: some may be dead by now.
    """
    await ledger.until(QUIET, seconds=30)
    assert await violations(ledger.query, acknowledged, dead=dead) == []


async def settle(ledger: Ledger, settings: Settings, acknowledged: Iterable[str]) -> None:
    """Let a worker handle what is owed, then ask the oracle."""
    async with build(settings).worker(settings):
        await ask_oracle(ledger, acknowledged)
