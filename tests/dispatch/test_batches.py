"""Batches: several events in one transaction; what goes wrong with one is that one's own affair."""

import asyncio
import uuid
from collections import Counter
from contextlib import suppress
from typing import cast

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver import RawTransaction, Receiver
from receiver.embedded import EmbeddedServers
from receiver.errors import HandlerError
from receiver.events import Event
from receiver.handlers import Dead, NotYet, Registry, RetryPolicy
from receiver.handlers.handler import Function, RawFunction
from tests.dispatch.conftest import Shop, open_shop, until
from tests.dispatch.test_leases import LEASE_IS_FORGOTTEN
from tests.faults.relay import Relay

EFFECT = "INSERT INTO effect VALUES ($1, $2, $3)"
SESSION_EFFECT = text("INSERT INTO effect VALUES (:id, :handler, :note)")
TWICE = RetryPolicy(first=0.01, factor=1, cap=0.01, attempts=2)
COMMITS = "SELECT count(DISTINCT started_at) FROM receiver.every_attempt WHERE outcome = 'succeeded'"
"""How many transactions the successes came from: it is the time of their beginning."""
LOST = """
UPDATE receiver.dispatch SET state = 'leased', attempts = 2, epoch = 2, worker = 'dead', due_at = now() - interval '1 s'
WHERE event_id IN (SELECT event_id FROM receiver.dispatch LIMIT $1)
"""
"""By a worker that died, for the second time."""
DEFERRED = "CREATE TABLE refused (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO refused VALUES (1)"
AMONG = "event_id = ANY($1)"
ON_DISK = "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()"
"""All leases: who writes the log has done so some time after they were committed."""

ODD: set[uuid.UUID] = set()
"""The events that something is to go wrong with."""
CALLS: Counter[uuid.UUID] = Counter()


@pytest.fixture(autouse=True)
def _forget() -> None:
    ODD.clear()
    CALLS.clear()


async def write(event: Event, tx: RawTransaction) -> None:
    CALLS[event.id] += 1
    await tx.execute(EFFECT, event.id, event.handler, "")


async def write_by_session(event: Event, tx: AsyncSession) -> None:
    await tx.execute(SESSION_EFFECT, {"id": event.id, "handler": event.handler, "note": ""})


def write_in_thread(event: Event, tx: Session) -> None:
    tx.execute(SESSION_EFFECT, {"id": event.id, "handler": event.handler, "note": ""})


def batched(function: Function, *, raw: bool = True, batch: int = 10, **options: object) -> Registry:
    registry = Registry()
    timeout = options.get("timeout")
    assert timeout is None or isinstance(timeout, float)
    registry.on("stripe", name="pay", retry=TWICE, raw=raw, batch=batch, timeout=timeout)(function)
    return registry


@pytest.mark.parametrize(("function", "raw"), [(write, True), (write_by_session, False), (write_in_thread, False)])
async def test_several_events_are_one_commit(shop: Shop, function: Function, raw: bool) -> None:
    events = {await shop.deliver() for _ in range(10)}
    async with shop.working(batched(function, raw=raw), concurrency=1) as worker:
        await shop.until_done()
    assert {row[0] for row in await shop.rows("SELECT event_id FROM effect")} == events
    assert await shop.effects() == 10
    assert await shop.value(COMMITS) == 1
    assert await shop.rows("SELECT DISTINCT number, worker, outcome, reason FROM receiver.every_attempt") == [
        (1, worker.name, "succeeded", None)
    ]
    assert shop.runs.heard == [("pay", "succeeded")] * 10


async def raises(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    if event.id in ODD:
        raise ValueError("odd")


async def says_dead(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    if event.id in ODD:
        raise Dead("odd")


async def goes_on(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    if event.id in ODD:
        with pytest.raises(asyncpg.CheckViolationError):
            await tx.execute("UPDATE stock SET count = -1")


async def is_refused(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    if event.id in ODD:
        await tx.execute("INSERT INTO refused VALUES (1)")


async def dawdles(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    if event.id in ODD:
        await asyncio.sleep(60)


async def cancels_itself(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    if event.id in ODD:
        raise asyncio.CancelledError


async def cuts_the_connection(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    if event.id in ODD:
        await tx.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")


WORN_OUT = ("dead", 2, "attempts_exhausted")


@pytest.mark.parametrize(
    ("function", "odd", "commits"),
    [
        (raises, WORN_OUT, 1),
        (says_dead, ("dead", 1, "odd"), 1),
        (goes_on, WORN_OUT, 1),
        (is_refused, WORN_OUT, 9),
        (dawdles, WORN_OUT, 9),
        (cancels_itself, WORN_OUT, 9),
        (cuts_the_connection, WORN_OUT, 9),
    ],
)
async def test_one_that_fails_fails_alone(
    shop: Shop, function: Function, odd: tuple[object, ...], commits: int
) -> None:
    """One of ten: the others succeed, by one commit where the batch itself could go on, else each by its own."""
    await shop.execute(DEFERRED)
    events = [await shop.deliver() for _ in range(10)]
    ODD.add(events[4])
    async with shop.working(batched(function, timeout=0.5), concurrency=1):
        await shop.until_done()
    states = await shop.rows("SELECT event_id, state, attempts, reason FROM receiver.dispatch")
    assert {row[0]: row[1:] for row in states} == dict.fromkeys(events, ("succeeded", 1, None)) | {events[4]: odd}
    assert {row[0] for row in await shop.rows("SELECT event_id FROM effect")} == set(events) - ODD
    assert await shop.effects() == 9
    assert await shop.value(COMMITS) == commits


async def test_what_is_not_there_yet_waits_without_attempts(shop: Shop) -> None:
    async def waits(event: Event, tx: RawTransaction) -> None:
        await write(event, tx)
        if event.id in ODD and CALLS[event.id] < 5:
            raise NotYet(after=0.01)

    events = [await shop.deliver() for _ in range(5)]
    ODD.add(events[0])
    async with shop.working(batched(waits), concurrency=1):
        await shop.until_done()
    assert await shop.rows("SELECT DISTINCT state, attempts FROM receiver.dispatch") == [("succeeded", 1)]
    assert await shop.effects() == 5


@pytest.mark.parametrize("sql", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN", "ROLLBACK; BEGIN"])
async def test_a_transaction_ended_by_sql_is_never_a_success_and_never_repeated(shop: Shop, sql: str) -> None:
    async def ends(event: Event, tx: RawTransaction) -> None:
        await write(event, tx)
        if event.id in ODD:
            await tx.execute(sql)

    events = [await shop.deliver() for _ in range(6)]
    ODD.add(events[2])
    async with shop.working(batched(ends), concurrency=1):
        await shop.until_done()
    states = dict.fromkeys(events, "succeeded") | {events[2]: "dead"}
    if "COMMIT" in sql:  # what ran before it is out, without a record; seen at once, those behind it have not run yet
        states |= dict.fromkeys(events if "BEGIN" in sql else events[:3], "dead")
    assert {row[0]: row[1] for row in await shop.rows("SELECT event_id, state FROM receiver.dispatch")} == states
    reasons = await shop.rows("SELECT DISTINCT reason FROM receiver.dispatch WHERE state = 'dead'")
    assert reasons == [("transaction_ended",)]
    written = await shop.rows("SELECT event_id, count(*) FROM effect GROUP BY 1 HAVING count(*) > 1")
    assert written == []


async def test_others_are_no_part_of_a_batch(shop: Shop) -> None:
    registry = batched(write)
    registry.on("stripe", name="ship", raw=True)(write)
    for _ in range(6):
        await shop.deliver("pay", "ship")
    async with shop.working(registry, concurrency=1):
        await shop.until_done()
    assert await shop.value(f"{COMMITS} AND handler = 'pay'") == 1
    assert await shop.value(f"{COMMITS} AND handler = 'ship'") == 6


async def test_who_lost_a_lease_does_not_spoil_the_others(shop: Shop) -> None:
    """One is taken over between its lease and its batch."""
    events = [await shop.deliver() for _ in range(4)]
    held, taken = asyncio.Event(), asyncio.Event()

    async def waits_once(event: Event, tx: RawTransaction) -> None:
        await write(event, tx)
        held.set()
        await taken.wait()

    async with shop.working(batched(waits_once, batch=2), concurrency=1):
        await held.wait()
        await shop.execute("UPDATE receiver.dispatch SET epoch = 2, due_at = now() WHERE event_id = $1", events[3])
        taken.set()
        await shop.until_done()
    assert await shop.rows("SELECT DISTINCT state FROM receiver.dispatch") == [("succeeded",)]
    assert await shop.effects() == 4
    assert ("pay", "lost") in shop.runs.heard


async def test_lanes_keep_their_order(shop: Shop) -> None:
    """Three events in each of four lanes: a batch holds one of each lane."""
    order: dict[int, list[uuid.UUID]] = {}
    for number in range(12):
        event_id = await shop.deliver()
        order.setdefault(number % 4, []).append(event_id)
        set_lane = "UPDATE receiver.dispatch SET lane = $2, lane_at = clock_timestamp() WHERE event_id = $1"
        await shop.execute(set_lane, event_id, number % 4)
    seen: list[uuid.UUID] = []

    async def notes(event: Event, tx: RawTransaction) -> None:
        seen.append(event.id)
        await write(event, tx)

    async with shop.working(batched(notes), concurrency=2):
        await shop.until_done()
    assert await shop.effects() == 12
    for lane in order.values():
        assert [event for event in seen if event in lane] == lane


async def test_a_worker_that_stops_gives_a_batch_back(shop: Shop) -> None:
    for _ in range(5):
        await shop.deliver()
    begun = asyncio.Event()

    async def dallies(event: Event, tx: RawTransaction) -> None:
        await write(event, tx)
        begun.set()
        await asyncio.sleep(60)

    async with shop.working(batched(dallies), concurrency=1, grace_seconds=0.1):
        await begun.wait()
    assert await shop.rows("SELECT DISTINCT state, attempts FROM receiver.dispatch") == [("ready", 0)]
    assert await shop.effects() == 0


@pytest.mark.parametrize("handler", ["pay_together", "pay_as_list"])
@pytest.mark.parametrize("place", ["worker_before_commit", "worker_after_commit"])
async def test_a_worker_that_dies_around_its_commit(shop: Shop, place: str, handler: str) -> None:
    for _ in range(6):
        await shop.deliver(handler)
    with shop.program(handler, place, lease_seconds=2) as dying:
        assert await asyncio.to_thread(dying.wait, 60) == -9
    with shop.program(handler, lease_seconds=2):
        await shop.until_done()
    assert await shop.rows("SELECT count(*), count(DISTINCT event_id) FROM effect") == [(6, 6)]


async def test_a_handler_that_will_not_stop_is_left_behind_and_the_others_go_on(shop: Shop) -> None:
    events = [await shop.deliver() for _ in range(4)]
    ODD.add(events[1])
    released = asyncio.Event()
    left: list[asyncio.Task[object] | None] = []

    async def swallows(event: Event, tx: RawTransaction) -> None:
        await write(event, tx)
        if event.id in ODD:
            left.append(asyncio.current_task())
        while event.id in ODD and not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    async with shop.working(batched(swallows, timeout=0.2), concurrency=1, lease_seconds=1):
        await shop.until_done()
    released.set()
    await asyncio.wait([task for task in left if task is not None])
    assert {row[0] for row in await shop.rows("SELECT event_id FROM effect")} == {events[0], *events[2:]}
    assert await shop.effects() == 3


@pytest.mark.parametrize("as_list", [False, True])
async def test_a_commit_whose_reply_was_lost_is_found(shop: Shop, as_list: bool) -> None:
    """It is a success of each, and nobody's lost lease; what it emitted is heard of at once."""
    receiver = Receiver()
    async with Relay(shop.database_url) as relay:

        async def pay(given: Event | list[Event], tx: RawTransaction) -> None:
            for event in given if isinstance(given, list) else [given]:
                await write(event, tx)
                await receiver.emit(tx.session(), "order.paid", None, key=str(event.id))
            if len(CALLS) == 3:
                relay.hold()

        async def hear(event: Event, tx: RawTransaction) -> None:
            """Succeed."""

        receiver.on("stripe", name="pay", raw=True, batch=3, as_list=as_list)(cast("RawFunction", pay))
        receiver.on("internal", name="hear", raw=True)(hear)
        for _ in range(3):
            await shop.deliver()
        apart = Shop(shop._connection, relay.url, shop.redis_url)
        async with apart.working(receiver.handlers, concurrency=1, poll_seconds=600):
            await shop.until("SELECT count(*) = 3 FROM receiver.dispatch WHERE state = 'succeeded'")
            relay.cut()
            relay.release()
            await shop.until_done()
    assert sorted(apart.runs.heard) == [("hear", "succeeded")] * 3 + [("pay", "succeeded")] * 3
    assert await shop.effects() == 3


@pytest.mark.parametrize("as_list", [True, False])
async def test_what_postgres_forgets_in_a_crash_is_run_again(
    own_servers: EmbeddedServers, own_shop: Shop, as_list: bool
) -> None:
    """The batch has written nothing: the number of its transaction comes again, and another commits under it."""
    entered, opened = asyncio.Event(), asyncio.Event()

    async def pays(given: Event | list[Event], tx: RawTransaction) -> None:
        if not entered.is_set():
            entered.set()
            await opened.wait()
        for event in given if isinstance(given, list) else [given]:
            await write(event, tx)

    registry = Registry()
    registry.on("stripe", name="pay", retry=TWICE, raw=True, batch=3, as_list=as_list)(cast("RawFunction", pays))
    async with own_shop.working(registry, concurrency=1, lease_seconds=3600) as worker:
        await own_shop.until("SELECT EXISTS (SELECT FROM receiver.worker WHERE name = $1)", worker.name)
        async with own_shop.transaction():
            events = [await own_shop.deliver() for _ in range(3)]
        await entered.wait()
        await own_shop.until(ON_DISK)
        await asyncio.to_thread(own_servers.postgres.stop_immediate)
        await asyncio.to_thread(own_servers.postgres.start)
        async with open_shop(own_servers.database_url, own_servers.redis_url) as after:
            for _ in range(3):
                await after.execute("INSERT INTO outside VALUES ('x')")
            opened.set()
            await after.until(
                f"SELECT count(*) = 3 FROM receiver.dispatch WHERE {AMONG} AND state IN ('succeeded', 'dead')", events
            )
            assert await after.rows(f"SELECT DISTINCT state FROM receiver.dispatch WHERE {AMONG}", events) == [
                ("succeeded",)
            ]
            assert await after.value(f"SELECT count(*) FROM effect WHERE {AMONG}", events) == 3


async def test_a_lease_that_was_forgotten_is_no_part_of_a_batch(shop: Shop) -> None:
    """Another worker has one of the same number."""
    entered, opened = asyncio.Event(), asyncio.Event()

    async def pays(event: Event, tx: RawTransaction) -> None:
        await write(event, tx)
        entered.set()
        await opened.wait()

    async with shop.transaction():
        for _ in range(3):
            await shop.deliver()
    async with (
        shop.leasing(worker="w2") as other,
        shop.working(batched(pays, batch=3), concurrency=1, poll_seconds=3600),
    ):
        await entered.wait()
        await shop.execute(LEASE_IS_FORGOTTEN)
        assert len(await other.take(3)) == 3
        opened.set()
        await until(lambda: len(shop.runs.heard) == 3)
    assert shop.runs.heard == [("pay", "lost")] * 3
    assert await shop.effects() == 0
    assert await shop.rows("SELECT DISTINCT state, worker FROM receiver.dispatch") == [("leased", "w2")]


async def test_suspects_make_no_room_for_others(shop: Shop) -> None:
    """They have a slot of their own: what else a worker with one slot holds is a batch that runs and one ahead."""

    async def waits(_event: Event, _tx: RawTransaction) -> None:
        await asyncio.sleep(60)

    for _ in range(300):
        await shop.deliver()
    await shop.execute(LOST, 10)
    async with shop.working(batched(waits, batch=50), concurrency=1, grace_seconds=0):
        await shop.until("SELECT count(*) >= 60 FROM receiver.dispatch WHERE state = 'leased' AND epoch <> 2")
        await asyncio.sleep(0.5)
        assert await shop.value("SELECT count(*) <= 110 FROM receiver.dispatch WHERE state = 'leased'")


@pytest.mark.parametrize("batch", [0, 101])
def test_batches_that_could_not_be(batch: int) -> None:
    with pytest.raises(HandlerError, match="batch must be 1 to 100"):
        batched(write, batch=batch)
