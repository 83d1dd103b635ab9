"""How soon a worker notices what is due: while Redis is down by its poll; and once Postgres is back."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from receiver.embedded import EmbeddedServers
from receiver.events import Event
from receiver.handlers import Registry
from receiver.marks import Marks, connect
from tests.dispatch.conftest import Shop, open_shop, until

POLL = 0.8
TOLERANCE = 0.6
"""Seconds for the claim and the fence, on a machine that has other things to do."""
NOWHERE = "redis://127.0.0.1:9/0"


class Noting:
    """A handler that notes when it began, and what it took from the commit to that."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._began = 0.0
        self.registry = Registry()
        self.registry.on("stripe", name="pay")(self._note)

    async def _note(self, _event: Event, _tx: AsyncSession) -> None:
        self._began = time.monotonic()

    async def wait(self, nudging: Marks | None = None) -> float:
        """Seconds from the commit of an event to the start of its handler."""
        await self._shop.deliver()
        committed = time.monotonic()
        if nudging is not None:
            nudging.nudge()
        await self._shop.until_done()
        return self._began - committed


@pytest.fixture
async def marks(own_servers: EmbeddedServers) -> AsyncIterator[Marks]:
    made = Marks(connect(own_servers.redis_url, timeout=1), ttl=60)
    yield made
    await made.close()


@pytest.mark.parametrize("trouble", ["never there", "kill", "freeze"])
async def test_without_redis_a_handler_starts_within_the_poll(
    own_servers: EmbeddedServers, own_shop: Shop, marks: Marks, trouble: str
) -> None:
    noting = Noting(own_shop)
    redis_url = NOWHERE if trouble == "never there" else own_servers.redis_url
    try:
        async with own_shop.working(noting.registry, redis_url=redis_url, poll_seconds=POLL):
            if trouble != "never there":
                assert min([await noting.wait(marks) for _ in range(3)]) < POLL / 2  # nudged
                (own_servers.valkey.kill if trouble == "kill" else own_servers.valkey.freeze)()
            waits = [await noting.wait(marks) for _ in range(5)]
            # Each was delivered just behind a look, so each waits for nearly the whole poll, and for no more.
            assert POLL / 2 < max(waits) < POLL + TOLERANCE, waits
    finally:
        if trouble == "kill":
            own_servers.valkey.start()
        if trouble == "freeze":
            own_servers.valkey.thaw()


async def test_nudges_are_heard_again_once_redis_is_back(
    own_servers: EmbeddedServers, own_shop: Shop, marks: Marks
) -> None:
    noting = Noting(own_shop)
    async with own_shop.working(noting.registry, poll_seconds=POLL):
        own_servers.valkey.kill()
        assert await noting.wait() < POLL + TOLERANCE
        own_servers.valkey.start()
        async with asyncio.timeout(30):
            while await noting.wait(marks) > POLL / 4:
                pass


@pytest.mark.parametrize("when", ["before it starts", "while it waits"])
async def test_worker_waits_for_a_postgres_that_is_away(own_servers: EmbeddedServers, when: str) -> None:
    async with open_shop(own_servers.database_url, own_servers.redis_url) as before:
        noting = Noting(before)
        if when == "before it starts":
            await asyncio.to_thread(own_servers.postgres.stop_immediate)
        with capture_logs() as lines:
            async with before.working(noting.registry, poll_seconds=0.1):
                if when == "while it waits":
                    await noting.wait()
                    await asyncio.to_thread(own_servers.postgres.stop_immediate)
                await until(lambda: sum(line["event"] == "lease_failed" for line in lines) >= 3)
                await asyncio.to_thread(own_servers.postgres.start)
                async with open_shop(own_servers.database_url, own_servers.redis_url) as after:
                    await after.deliver()
                    await after.until_done()
                    assert await after.value("SELECT count(*) > 0 FROM receiver.dispatch WHERE state = 'succeeded'")
                    await after.until("SELECT count(*) > 0 FROM receiver.worker WHERE state = 'running'")
