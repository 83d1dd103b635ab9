"""Transactions that wait within a statement for a client that has heard nothing: ended at the lease, and only those."""

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from receiver.events import Event
from receiver.handlers import Registry, RetryPolicy
from receiver.storage.engine import raw_connection
from tests.dispatch.conftest import Shop
from tests.dispatch.test_faults import until_dead, write, writing
from tests.faults.relay import Relay

QUICK = RetryPolicy(first=0.01, factor=1, cap=0.01, attempts=5)
WITHIN = """
SELECT count(*) = 1 FROM pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND wait_event = 'ClientRead' AND query LIKE '%within%'
    AND state_change < clock_timestamp() - interval '0.3 s'
"""
"""For so long that an answer has been sent by now, and lost: at first it is only on its way."""
DONE = "SELECT bool_and(state = 'succeeded') FROM receiver.dispatch"
LEASE = 1.0
PATIENCE = 20.0
"""Seconds for what takes about a lease and a third."""


async def test_a_lost_reply_within_a_statement_costs_a_lease(shop: Shop) -> None:
    """Though neither the handler nor PostgreSQL has a time limit that would end it."""
    async with Relay(shop.database_url) as relay:

        async def pay(event: Event, tx: AsyncSession) -> None:
            await write(event, tx)
            relay.losing = event.attempt == 1
            await tx.execute(text("SELECT 'within'"))

        registry = Registry(retry=QUICK)
        registry.on("stripe", timeout=math.inf)(pay)
        await shop.deliver()
        apart = Shop(shop._connection, relay.url, shop.redis_url)
        with capture_logs() as lines:
            async with apart.working(registry, lease_seconds=LEASE, poll_seconds=5):
                await shop.until(WITHIN, seconds=PATIENCE)
                relay.losing = False
                await shop.until(DONE, seconds=PATIENCE)
    ended = {line["application_name"]: line["seconds"] for line in lines if line["event"] == "deaf_session_ended"}
    assert ended["receiver-worker"] >= LEASE
    assert await shop.effects() == 1


async def test_a_worker_frozen_within_a_statement_is_ended_by_another(shop: Shop) -> None:
    await shop.deliver("freeze_within")
    with shop.program("freeze_within", lease_seconds=LEASE, concurrency=1) as process:
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        await shop.until(WITHIN, seconds=PATIENCE)
        async with shop.working(writing("freeze_within"), lease_seconds=LEASE):
            await shop.until(DONE, seconds=PATIENCE)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        assert await until_dead(process) == 0
    assert await shop.attempts("freeze_within") == [(1, "lost", "lease_expired"), (2, "succeeded", None)]
    assert await shop.effects() == 1


async def one_long_statement(_event: Event, tx: AsyncSession) -> None:
    await tx.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": 3 * LEASE})


async def slow_copy(event: Event, tx: AsyncSession) -> None:
    async def rows() -> AsyncIterator[tuple[object, ...]]:
        yield event.id, "copied"
        await asyncio.sleep(3 * LEASE)
        yield event.id, "copied too"

    await (await raw_connection(await tx.connection())).copy_records_to_table(
        "effect", records=rows(), columns=("event_id", "handler")
    )


async def prepared_and_busy_elsewhere(_event: Event, tx: AsyncSession) -> None:
    statement = await (await raw_connection(await tx.connection())).prepare("SELECT 1")
    await asyncio.sleep(3 * LEASE)
    assert await statement.fetchval() == 1


async def busy_elsewhere(_event: Event, _tx: AsyncSession) -> None:
    await asyncio.sleep(3 * LEASE)


HEALTHY: tuple[Callable[[Event, AsyncSession], Awaitable[None]], ...] = (
    one_long_statement,
    slow_copy,
    prepared_and_busy_elsewhere,
    busy_elsewhere,
)


async def test_nothing_healthy_is_ended(shop: Shop) -> None:
    """Nor anything that is not the receiver's, whatever it does."""
    other = await asyncpg.connect(shop.database_url, server_settings={"application_name": "shop"})
    await other.execute("BEGIN")
    await other.prepare("SELECT 'within'")
    registry = Registry(retry=QUICK)
    for function in HEALTHY:
        registry.on("stripe", name=function.__name__)(function)
    await shop.deliver(*registry.names())
    with capture_logs() as lines:
        async with shop.working(registry, lease_seconds=LEASE):
            await shop.until(DONE, seconds=PATIENCE)
            assert await shop.value(WITHIN)
    await other.close()
    assert [line for line in lines if line["event"] == "deaf_session_ended"] == []
    assert await shop.rows("SELECT DISTINCT number, outcome FROM receiver.every_attempt") == [(1, "succeeded")]
