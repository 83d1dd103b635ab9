"""The merchant's API on a free port, in the test's process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import httpx
import pytest

from receiver.app.listeners import Listener, bind
from receiver.settings import Settings, made
from tests.databases import execute
from tests.idempotency.merchant import EFFECTS, build
from tests.ingress.ledger import Ledger

KEY: Final = "k" * 32
LIMITS: Final = httpx.Limits(max_connections=200)
Api = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def ledger(database_url: str, redis_url: str) -> Ledger:
    execute(database_url, EFFECTS)
    return Ledger(database_url, redis_url)


@pytest.fixture
def api(ledger: Ledger) -> Api:
    """Starts it, with changes to its settings."""

    @asynccontextmanager
    async def run(**changes: object) -> AsyncIterator[httpx.AsyncClient]:
        app = build(settings_of(ledger, **changes))
        bound = bind("127.0.0.1", 0, setting="port")
        listener = Listener(app, bound, grace=1)
        base = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with app.router.lifespan_context(app):
            await listener.start()
            try:
                async with httpx.AsyncClient(base_url=base, timeout=30, limits=LIMITS) as client:
                    yield client
            finally:
                await listener.stop()

    return run


def settings_of(ledger: Ledger, **changes: object) -> Settings:
    """Settings that a merchant's API needs."""
    given: dict[str, object] = {
        "database_url": ledger.database_url,
        "redis_url": ledger.redis_url,
        "token_keys": [KEY],
        "redis_timeout": 5.0,
        **changes,
    }
    return made(**given)


async def issued(client: httpx.AsyncClient, scope: str = "orders", **more: object) -> str:
    """A fresh token."""
    reply = await client.post("/tokens", json={"scope": scope, **more})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["tokens"][0])
