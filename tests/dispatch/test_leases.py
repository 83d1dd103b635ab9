"""Leases and fences between two owners, statement by statement."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from receiver.errors import LeaseLost, StoreUnavailable, TransactionEnded
from receiver.storage.engine import raw_connection
from receiver.storage.leases import Lease
from receiver.storage.outcomes import Failure
from receiver.storage.replays import replay_event
from receiver.storage.runs import RunConnection
from tests.dispatch.conftest import Shop

RETRY = Failure(dead=False, delay=100, reason="handler_raised", error="ValueError: 'quoted' \\ \0 \ud800 日本")
LEASE_IS_FORGOTTEN = """
UPDATE receiver.dispatch SET state = 'ready', epoch = 0, attempts = 0, due_at = now(), worker = NULL, leased_at = NULL
"""
LET_IT_RUN_OUT = "UPDATE receiver.dispatch SET due_at = now() - interval '1 second'"


@asynccontextmanager
async def running(shop: Shop, **settings: str) -> AsyncIterator[RunConnection]:
    """The connection of one slot."""
    async with shop.engine(**settings) as engine:
        connection = RunConnection(engine)
        await connection.open()
        try:
            yield connection
        finally:
            await connection.discard()


async def write(connection: RunConnection, lease: Lease) -> None:
    session = connection.lend()
    await session.execute(text("INSERT INTO effect VALUES (:id, :handler)"), {"id": lease.event_id, "handler": "pay"})


async def test_due_ones_are_leased_oldest_first_and_only_once(shop: Shop) -> None:
    events = [await shop.deliver() for _ in range(4)]
    await shop.execute("UPDATE receiver.dispatch SET due_at = now() + interval '1 hour' WHERE event_id = $1", events[3])
    await shop.execute("UPDATE receiver.dispatch SET due_at = now() - interval '1 hour' WHERE event_id = $1", events[2])
    async with shop.leasing() as first, shop.leasing(worker="w2") as second:
        taken = await first.take(2)
        rest = await second.take(10)
    assert [lease.event_id for lease in taken] == [events[2], events[0]]
    assert [lease.event_id for lease in rest] == [events[1]]
    assert {(lease.epoch, lease.attempt, lease.suspect) for lease in taken + rest} == {(1, 1, False)}
    assert await shop.rows("SELECT count(*) FROM receiver.every_attempt") == [(0,)]


async def test_dispatches_of_unknown_handlers_are_left_untouched(shop: Shop) -> None:
    await shop.deliver("other")
    before = await shop.rows("SELECT *, xmin::text FROM receiver.dispatch")
    async with shop.leasing("pay", "ship") as leasing:
        assert await leasing.take(10) == []
    assert await shop.rows("SELECT *, xmin::text FROM receiver.dispatch") == before


async def test_lost_lease_is_taken_over_and_leaves_its_record(shop: Shop) -> None:
    await shop.deliver()
    async with shop.leasing() as first, shop.leasing(worker="w2") as second:
        (old,) = await first.take(10)
        assert await second.take(10) == []
        await shop.execute(LET_IT_RUN_OUT)
        (new,) = await second.take(10)
    assert (old.epoch, new.epoch, new.attempt, new.suspect) == (1, 2, 2, False)
    assert await shop.rows("SELECT epoch, number, worker, outcome, reason FROM receiver.every_attempt") == [
        (1, 1, "w1", "lost", "lease_expired")
    ]


async def test_dispatch_that_is_being_run_is_never_taken_over(shop: Shop) -> None:
    await shop.deliver()
    async with shop.leasing(seconds=0) as first, shop.leasing(worker="w2") as second, running(shop) as run:
        (lease,) = await first.take(10)  # it runs out at once
        await run.begin(lease)
        await first.renew([lease])  # waits for nobody
        await write(run, lease)
        assert await second.take(10) == []
        await run.succeed(lease)
    assert await shop.dispatch() == ("succeeded", 1, None)
    assert await shop.effects() == 1


@pytest.mark.parametrize("how", ["taken over", "replayed", "given back", "finished"])
async def test_fence_keeps_out_who_does_not_own_it_any_more(shop: Shop, how: str) -> None:
    event_id = await shop.deliver()
    async with shop.leasing() as leasing, shop.engine() as engine, running(shop) as run:
        (lease,) = await leasing.take(10)
        if how == "taken over":
            await shop.execute(LET_IT_RUN_OUT)
            assert await leasing.take(10)
        elif how == "given back":
            await leasing.give_back([lease])
        elif how == "finished":
            await run.begin(lease)
            await run.succeed(lease)
        else:
            await shop.execute("UPDATE receiver.dispatch SET state = 'dead'")
            async with engine.connect() as connection:
                assert await replay_event(await raw_connection(connection), event_id, None) == ["pay"]
        before = await shop.rows("SELECT * FROM receiver.dispatch")
        with pytest.raises(LeaseLost):
            await run.begin(lease)
        assert not await run.fail(lease, RETRY, 0.1)
        assert not await run.bury(lease, "attempts_exhausted")
        await leasing.renew([lease])
        await leasing.give_back([lease])
        assert await shop.rows("SELECT * FROM receiver.dispatch") == before


async def test_frozen_transaction_ends_and_its_work_is_undone(shop: Shop) -> None:
    await shop.deliver()
    async with shop.leasing(seconds=1) as leasing, running(shop, idle_in_transaction_session_timeout="200ms") as frozen:
        (lease,) = await leasing.take(10)
        await frozen.begin(lease)
        await write(frozen, lease)
        await shop.until("SELECT count(*) = 0 FROM pg_stat_activity WHERE state = 'idle in transaction'")
        await shop.execute(LET_IT_RUN_OUT)
        (new,) = await leasing.take(10)
        with pytest.raises((StoreUnavailable, TransactionEnded)):
            await frozen.succeed(lease)
        async with running(shop) as run:
            await run.begin(new)
            await write(run, new)
            await run.succeed(new)
        await frozen.open()
        assert not await frozen.fail(lease, RETRY, 0.1)
    assert await shop.effects() == 1
    assert await shop.attempts() == [(1, "lost", "lease_expired"), (2, "succeeded", None)]


async def test_what_a_handler_committed_by_itself_is_seen(shop: Shop) -> None:
    await shop.deliver()
    async with shop.leasing() as leasing, running(shop) as run:
        (lease,) = await leasing.take(10)
        await run.begin(lease)
        await run.roll_back()
        assert not await run.has_succeeded(lease)
        await run.begin(lease)
        await run.lend_raw().execute("COMMIT")
        assert await run.has_succeeded(lease)
        assert not run.committing, "nor had we asked for it"


async def test_who_looks_for_a_success_keeps_its_dispatch(shop: Shop) -> None:
    """Its lease has run out; what comes of the run is to be recorded before anybody takes it over."""
    await shop.deliver()
    async with shop.leasing() as leasing, running(shop) as run:
        (lease,) = await leasing.take(10)
        await shop.execute(LET_IT_RUN_OUT)
        await run.begin(lease)
        assert not await run.has_succeeded(lease)
        assert await leasing.take(10) == []
        assert await run.fail(lease, RETRY, 0.1)


async def test_a_lease_that_postgres_has_forgotten_fences_out(shop: Shop) -> None:
    """Though the next one has its epoch."""
    await shop.deliver()
    async with shop.leasing() as leasing, running(shop) as run:
        (forgotten,) = await leasing.take(10)
        await shop.execute(LEASE_IS_FORGOTTEN)
        (lease,) = await leasing.take(10)
        assert lease.epoch == forgotten.epoch
        with pytest.raises(LeaseLost):
            await run.begin(forgotten)
        await run.open()
        assert not await run.fail(forgotten, RETRY, 0.1)
        await run.begin(lease)


async def test_touched_transaction_stays(shop: Shop) -> None:
    await shop.deliver()
    async with shop.leasing() as leasing, running(shop, idle_in_transaction_session_timeout="500ms") as run:
        (lease,) = await leasing.take(10)
        await run.begin(lease)
        await write(run, lease)
        began = "clock_timestamp() - (SELECT leased_at FROM receiver.dispatch) > interval '1.2 seconds'"
        while not await shop.value(f"SELECT {began}"):
            await run.touch()
        await run.succeed(lease)
    assert await shop.effects() == 1


async def test_failure_is_recorded_with_what_was_said(shop: Shop) -> None:
    await shop.deliver()
    async with shop.leasing() as leasing, running(shop) as run:
        (lease,) = await leasing.take(10)
        await run.begin(lease)
        await write(run, lease)
        assert await run.fail(lease, RETRY, 2.5)
    assert await shop.effects() == 0
    assert await shop.rows(
        "SELECT number, outcome, reason, error, extract(epoch FROM finished_at - started_at)::float"
        " FROM receiver.every_attempt"
    ) == [(1, "retry", "handler_raised", "ValueError: 'quoted' \\  ? 日本", 2.5)]
    assert await shop.dispatch() == ("ready", 1, "handler_raised")


async def test_event_that_is_gone_does_not_wedge_the_queue(shop: Shop) -> None:
    await shop.deliver()
    await shop.execute("DELETE FROM receiver.event")
    there = await shop.deliver()
    async with shop.leasing() as leasing:
        gone, found = await leasing.take(10)
    assert gone.event is None
    assert found.event is not None
    assert found.event_id == there


async def test_what_was_given_back_is_as_if_never_leased(shop: Shop) -> None:
    await shop.deliver()
    async with shop.leasing() as leasing:
        await leasing.give_back(await leasing.take(10))
        assert await shop.dispatch() == ("ready", 0, None)
        assert [(lease.epoch, lease.attempt) for lease in await leasing.take(10)] == [(2, 1)]


async def test_renewed_lease_lasts(shop: Shop) -> None:
    await shop.deliver()
    async with shop.leasing() as leasing, shop.leasing(worker="w2") as other:
        leases = await leasing.take(10)
        await shop.execute(LET_IT_RUN_OUT)
        await leasing.renew(leases)
        assert await other.take(10) == []


async def test_suspects_are_counted_when_they_start_and_the_innocent_come_first(shop: Shop) -> None:
    poison, innocent = await shop.deliver(), await shop.deliver()
    async with shop.leasing() as leasing, running(shop) as run:
        for _ in range(3):
            leases = await leasing.take(10)
            await shop.execute(LET_IT_RUN_OUT)
        assert {(lease.attempt, lease.suspect) for lease in leases} == {(3, True)}
        assert await shop.rows("SELECT DISTINCT attempts FROM receiver.dispatch") == [(2,)]
        await run.begin(next(lease for lease in leases if lease.event_id == poison))
        await run.discard()
        await shop.execute(LET_IT_RUN_OUT)
        assert await leasing.take(10, suspects=False) == []
        leases = await leasing.take(10)
    assert [(lease.event_id, lease.attempt) for lease in leases] == [(innocent, 3), (poison, 4)]


async def replayed(shop: Shop, event_id: uuid.UUID, handler: str | None, *, again: bool = False) -> object:
    async with shop.engine() as engine, engine.connect() as connection:
        return await replay_event(await raw_connection(connection), event_id, handler, again=again)


STATES = """
UPDATE receiver.dispatch SET state = handler, attempts = 5, epoch = 7, reason = 'x', due_at = now() + '1 hour'
"""


@pytest.mark.parametrize(
    ("again", "succeeded"),
    [
        (False, ("succeeded", "succeeded", 5, 7, "scheduled", "x", False)),
        (True, ("succeeded", "ready", 0, 8, "manual", None, True)),
    ],
)
async def test_replay_of_an_event_spares_what_others_have(
    shop: Shop, *, again: bool, succeeded: tuple[object, ...]
) -> None:
    event_id = await shop.deliver("ready", "waiting", "leased", "dead", "succeeded")
    await shop.deliver("dead")
    await shop.execute(STATES)
    assert await replayed(shop, event_id, None, again=again) == ["dead", "ready", *["succeeded"] * again]
    assert await shop.rows(
        "SELECT handler, state, attempts, epoch, trigger, reason, due_at <= now() FROM receiver.dispatch"
        " WHERE event_id = $1 ORDER BY handler",
        event_id,
    ) == [
        ("dead", "ready", 0, 8, "manual", None, True),
        ("leased", "leased", 5, 7, "scheduled", "x", False),
        ("ready", "ready", 0, 8, "manual", None, True),
        succeeded,
        ("waiting", "waiting", 5, 7, "scheduled", "x", False),
    ]
    assert await shop.value("SELECT count(*) FROM receiver.dispatch WHERE state = 'dead'") == 1


async def test_replay_of_one_handler_of_an_event(shop: Shop) -> None:
    event_id = await shop.deliver("ready", "dead")
    await shop.execute(STATES)
    assert await replayed(shop, event_id, "dead") == ["dead"]
    assert await replayed(shop, event_id, "nobody") == []


async def test_replay_leaves_alone_what_is_being_run(shop: Shop) -> None:
    event_id = await shop.deliver()
    async with shop.leasing() as leasing, running(shop) as run:
        (lease,) = await leasing.take(10)
        await run.begin(lease)
        assert await replayed(shop, event_id, None) == []
        await write(run, lease)
        await run.succeed(lease)
    assert await replayed(shop, event_id, None) == []
    assert await shop.effects() == 1
