"""A commit and the fence of the run behind it in one message: what becomes of either when the other fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import text as sa_text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from receiver.errors import LeaseLost, RunNotBegun, StoreUnavailable, TransactionAborted
from receiver.events import Event
from receiver.handlers import Registry
from receiver.storage.leases import Lease
from receiver.storage.runs import RunConnection
from tests.dispatch.conftest import Shop
from tests.dispatch.test_leases import LET_IT_RUN_OUT, running, write

STATES = "SELECT state FROM receiver.dispatch ORDER BY due_at DESC, state"
WAITING = "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
END_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
SLEEP = "SELECT pg_sleep($1)"
DEFERRED = """
CREATE TABLE refused (event_id uuid UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO refused VALUES ('00000000-0000-0000-0000-000000000000');
"""


@asynccontextmanager
async def held(engine: AsyncEngine, lease: Lease) -> AsyncIterator[None]:
    """Somebody else has the row of its dispatch locked."""
    async with engine.connect() as connection:
        await connection.exec_driver_sql("BEGIN")
        await connection.exec_driver_sql(
            f"SELECT FROM receiver.dispatch WHERE event_id = '{lease.event_id}' FOR UPDATE"
        )
        yield
        await connection.exec_driver_sql("ROLLBACK")


@asynccontextmanager
async def begun(shop: Shop, **settings: str) -> AsyncIterator[tuple[RunConnection, Lease, Lease]]:
    """A slot in which the first of two that are leased has begun."""
    await shop.deliver()
    await shop.deliver()
    async with shop.leasing() as leasing, running(shop, **settings) as run:
        first, second = await leasing.take(2)
        await run.begin(first)
        yield run, first, second


async def test_the_next_run_begins_behind_the_commit(shop: Shop) -> None:
    async with begun(shop) as (run, first, second):
        await write(run, first)
        assert await run.succeed(first, second)
        assert await shop.effects() == 1  # committed, and seen by others
        await write(run, second)
        assert not await run.succeed(second)
    assert await shop.effects() == 2
    assert await shop.rows(STATES) == [("succeeded",), ("succeeded",)]


async def test_who_follows_was_taken_over(shop: Shop) -> None:
    async with begun(shop) as (run, first, second), shop.leasing(worker="w2") as other:
        await write(run, first)
        await shop.execute(f"{LET_IT_RUN_OUT} WHERE event_id = $1", second.event_id)
        assert await other.take(10)
        assert not await run.succeed(first, second)
        assert await shop.value("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == 0
        with pytest.raises(LeaseLost):
            await run.begin(second)
    assert await shop.effects() == 1
    assert await shop.rows(STATES) == [("leased",), ("succeeded",)]


async def test_a_refused_commit_begins_nothing(shop: Shop) -> None:
    await shop.execute(DEFERRED)
    async with begun(shop) as (run, first, second):
        await run.lend().execute(sa_text("INSERT INTO refused VALUES ('00000000-0000-0000-0000-000000000000')"))
        with pytest.raises(asyncpg.UniqueViolationError):
            await run.succeed(first, second)
        await run.begin(second)
        await write(run, second)
        await run.succeed(second)
    assert await shop.rows(STATES) == [("leased",), ("succeeded",)]


async def test_what_cannot_be_carried_waits_for_the_beginning(shop: Shop) -> None:
    """Although the statement before it could be, and was given up before its turn."""
    await shop.execute(DEFERRED)
    fate: list[asyncpg.PostgresError | None] = []
    async with begun(shop) as (run, first, second):
        await run.lend_raw().execute("INSERT INTO refused VALUES ('00000000-0000-0000-0000-000000000000')")
        assert await run.succeed(first, second, later=fate.append)
        tx = run.lend_raw()
        async with tx._turn:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(tx.fetchval("SELECT 1"), 0.01)
        with pytest.raises(RunNotBegun):
            await asyncio.wait_for(tx.execute("CREATE TABLE one (); CREATE TABLE two ()"), 10)
    assert [type(refusal) for refusal in fate] == [asyncpg.UniqueViolationError]
    assert await shop.value("SELECT to_regclass('one')") is None


async def test_a_fence_that_fails_does_not_undo_the_commit_before_it(shop: Shop) -> None:
    async with begun(shop, lock_timeout="100ms") as (run, first, second), shop.engine() as engine:
        await write(run, first)
        async with held(engine, second):
            assert not await run.succeed(first, second)
        await run.begin(second)
        await write(run, second)
        await run.succeed(second)
    assert await shop.effects() == 2
    assert await shop.rows(STATES) == [("succeeded",), ("succeeded",)]


async def test_a_session_that_ends_behind_the_commit_does_not_undo_it(shop: Shop) -> None:
    async with begun(shop) as (run, first, second), shop.engine() as engine:
        await write(run, first)
        async with held(engine, second):
            succeeding = asyncio.create_task(run.succeed(first, second))
            await shop.until(WAITING)
            await shop.execute(END_WAITING)
            assert not await succeeding
        await run.discard()
        await run.open()
        await run.begin(second)
        await write(run, second)
        await run.succeed(second)
    assert await shop.effects() == 2
    assert await shop.rows(STATES) == [("succeeded",), ("succeeded",)]


async def test_what_must_not_simply_follow(shop: Shop) -> None:
    """In one slot: one whose event is gone, one that is out of attempts, then one that is to be run."""
    gone, worn_out, plain = [await shop.deliver() for _ in range(3)]
    await shop.execute("DELETE FROM receiver.event WHERE id = $1", gone)
    await shop.execute("UPDATE receiver.dispatch SET attempts = 1000 WHERE event_id = $1", worn_out)
    first = await shop.deliver()
    await shop.execute("UPDATE receiver.dispatch SET due_at = now() - interval '1 hour' WHERE event_id = $1", first)
    registry = Registry()

    @registry.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        await tx.execute(sa_text("INSERT INTO effect VALUES (:id, :handler)"), {"id": event.id, "handler": "pay"})

    async with shop.working(registry, concurrency=1):
        await shop.until_done()
    assert {row[0]: row[1] for row in await shop.rows("SELECT event_id, state FROM receiver.dispatch")} == {
        gone: "dead",
        worn_out: "dead",
        plain: "succeeded",
        first: "succeeded",
    }
    assert await shop.value("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == 0


@pytest.mark.parametrize("carried", [False, True])
async def test_a_commit_that_comes_out_as_a_rollback(shop: Shop, carried: bool) -> None:
    """Of a statement that was given up Postgres has said nothing yet when the commit is asked for."""
    fate: list[asyncpg.PostgresError | None] = []
    async with begun(shop) as (run, first, second):
        lent = run.lend_raw()
        await lent.execute(SLEEP, 0)  # it is prepared then: to give that up would cancel nothing
        with pytest.raises(TimeoutError):
            await lent.execute(SLEEP, 60, timeout=0.1)
        with pytest.raises(TransactionAborted):
            await run.succeed(first, second, later=fate.append if carried else None)
    assert [type(refusal) for refusal in fate] == [asyncpg.InFailedSQLTransactionError] * carried
    assert await shop.rows("SELECT DISTINCT state FROM receiver.dispatch") == [("leased",)]


async def test_nothing_is_lent_of_a_connection_that_was_cut_behind_the_commit(shop: Shop) -> None:
    """A task that the handler before left was in the middle of a statement, and SQLAlchemy has closed it for that."""
    async with begun(shop) as (run, first, second):
        connection = await run.lend().connection()
        assert await run.succeed(first, second)
        await connection.invalidate()
        for lend in (run.lend, run.lend_raw, run.lend_sync):
            with pytest.raises(StoreUnavailable):
                lend()
