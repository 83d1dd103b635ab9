"""Handlers that take a list: one call for a batch; if it fails, each event is run alone."""

import asyncio
import uuid
from contextlib import suppress

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver import RawTransaction
from receiver.errors import HandlerError
from receiver.events import Event
from receiver.handlers import Dead, NotYet, Registry
from receiver.handlers.handler import Function
from tests.dispatch.conftest import Shop
from tests.dispatch.test_batches import COMMITS, DEFERRED, TWICE, WORN_OUT

EFFECTS = "INSERT INTO effect SELECT unnest($1::uuid[]), 'pay', ''"
SESSION_EFFECTS = text("INSERT INTO effect VALUES (:id, :handler, '')")
STATES = "SELECT event_id, state, attempts, reason FROM receiver.dispatch"

ODD: set[uuid.UUID] = set()
"""The events that something is to go wrong with."""
CALLS: list[list[uuid.UUID]] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    ODD.clear()
    CALLS.clear()


def odd(events: list[Event]) -> bool:
    return any(event.id in ODD for event in events)


async def write(events: list[Event], tx: RawTransaction) -> None:
    CALLS.append([event.id for event in events])
    await tx.execute(EFFECTS, CALLS[-1])


def rows(events: list[Event]) -> list[dict[str, object]]:
    CALLS.append([event.id for event in events])
    return [{"id": event.id, "handler": event.handler} for event in events]


async def write_by_session(events: list[Event], tx: AsyncSession) -> None:
    await tx.execute(SESSION_EFFECTS, rows(events))


def write_in_thread(events: list[Event], tx: Session) -> None:
    tx.execute(SESSION_EFFECTS, rows(events))


def listed(function: Function, *, raw: bool = True, batch: int = 10, timeout: float | None = None) -> Registry:
    registry = Registry()
    registry.on("stripe", name="pay", retry=TWICE, raw=raw, batch=batch, as_list=True, timeout=timeout)(function)
    return registry


@pytest.mark.parametrize(("function", "raw"), [(write, True), (write_by_session, False), (write_in_thread, False)])
async def test_several_events_are_one_call_and_one_commit(shop: Shop, function: Function, raw: bool) -> None:
    events = [await shop.deliver() for _ in range(13)]
    async with shop.working(listed(function, raw=raw), concurrency=1):
        await shop.until_done()
    assert [len(call) for call in CALLS] == [10, 3]
    assert [event for call in CALLS for event in call] == events  # in the order of their arrival
    assert await shop.effects() == 13
    assert await shop.value(COMMITS) == 2
    assert shop.runs.heard == [("pay", "succeeded")] * 13


async def test_one_event_is_a_list_too(shop: Shop) -> None:
    event = await shop.deliver()
    async with shop.working(listed(write), concurrency=1):
        await shop.until_done()
    assert [[event]] == CALLS
    assert await shop.effects() == 1


async def raises(events: list[Event], tx: RawTransaction) -> None:
    await write(events, tx)
    if odd(events):
        raise ValueError("odd")


async def says_dead(events: list[Event], tx: RawTransaction) -> None:
    await write(events, tx)
    if odd(events):
        raise Dead("odd")


async def goes_on(events: list[Event], tx: RawTransaction) -> None:
    await write(events, tx)
    if odd(events):
        with pytest.raises(asyncpg.CheckViolationError):
            await tx.execute("UPDATE stock SET count = -1")


async def is_refused(events: list[Event], tx: RawTransaction) -> None:
    await write(events, tx)
    if odd(events):
        await tx.execute("INSERT INTO refused VALUES (1)")


async def dawdles(events: list[Event], tx: RawTransaction) -> None:
    await write(events, tx)
    if odd(events):
        await asyncio.sleep(60)


async def cancels_itself(events: list[Event], tx: RawTransaction) -> None:
    await write(events, tx)
    if odd(events):
        raise asyncio.CancelledError


async def cuts_the_connection(events: list[Event], tx: RawTransaction) -> None:
    await write(events, tx)
    if odd(events):
        await tx.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")


async def rolls_back(events: list[Event], tx: RawTransaction) -> None:
    await write(events, tx)
    if odd(events):
        await tx.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("function", "outcome"),
    [
        (raises, WORN_OUT),
        (says_dead, ("dead", 1, "odd")),
        (goes_on, WORN_OUT),
        (is_refused, WORN_OUT),
        (dawdles, WORN_OUT),
        (cancels_itself, WORN_OUT),
        (cuts_the_connection, WORN_OUT),
        (rolls_back, ("dead", 1, "transaction_ended")),
    ],
)
async def test_one_that_fails_fails_alone(shop: Shop, function: Function, outcome: tuple[object, ...]) -> None:
    """One of ten: the list as a whole is nobody's failure, and the other nine succeed alone."""
    await shop.execute(DEFERRED)
    events = [await shop.deliver() for _ in range(10)]
    ODD.add(events[4])
    async with shop.working(listed(function, timeout=0.5), concurrency=1):
        await shop.until_done()
    assert CALLS[0] == events
    assert {row[0]: row[1:] for row in await shop.rows(STATES)} == dict.fromkeys(events, ("succeeded", 1, None)) | {
        events[4]: outcome
    }
    assert {row[0] for row in await shop.rows("SELECT event_id FROM effect")} == set(events) - ODD
    assert await shop.effects() == 9
    assert await shop.value(COMMITS) == 9


@pytest.mark.parametrize("more", ["", "; BEGIN"])
@pytest.mark.parametrize("fails", [False, True])
async def test_a_commit_by_sql_is_never_a_success_and_never_repeated(shop: Shop, more: str, fails: bool) -> None:
    """What the list wrote is out: all of it is dead, and nothing is written twice."""

    async def commits(events: list[Event], tx: RawTransaction) -> None:
        await write(events, tx)
        await tx.execute("COMMIT" + more)
        if fails:
            raise ValueError("after all")

    for _ in range(4):
        await shop.deliver()
    async with shop.working(listed(commits), concurrency=1):
        await shop.until_done()
    assert len(CALLS) == 1
    assert await shop.rows("SELECT DISTINCT state, reason FROM receiver.dispatch") == [("dead", "transaction_ended")]
    assert await shop.effects() == 4


async def test_what_is_not_there_yet_waits_without_attempts(shop: Shop) -> None:
    async def waits(events: list[Event], tx: RawTransaction) -> None:
        await write(events, tx)
        if odd(events) and len(CALLS) < 10:
            raise NotYet(after=0.01)

    events = [await shop.deliver() for _ in range(5)]
    ODD.add(events[0])
    async with shop.working(listed(waits), concurrency=1):
        await shop.until_done()
    assert await shop.rows("SELECT DISTINCT state, attempts FROM receiver.dispatch") == [("succeeded", 1)]
    assert await shop.effects() == 5


async def test_who_lost_a_lease_does_not_spoil_the_others(shop: Shop) -> None:
    events = [await shop.deliver() for _ in range(4)]
    held, taken = asyncio.Event(), asyncio.Event()

    async def waits_once(events: list[Event], tx: RawTransaction) -> None:
        await write(events, tx)
        held.set()
        await taken.wait()

    async with shop.working(listed(waits_once), concurrency=1):
        await held.wait()
        await shop.execute("UPDATE receiver.dispatch SET epoch = 2, due_at = now() WHERE event_id = $1", events[3])
        taken.set()
        await shop.until_done()
    assert await shop.rows("SELECT DISTINCT state FROM receiver.dispatch") == [("succeeded",)]
    assert await shop.effects() == 4
    assert ("pay", "lost") in shop.runs.heard


async def test_a_worker_that_stops_gives_a_list_back(shop: Shop) -> None:
    for _ in range(5):
        await shop.deliver()
    begun, released = asyncio.Event(), asyncio.Event()

    async def swallows(events: list[Event], tx: RawTransaction) -> None:
        await write(events, tx)
        begun.set()
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    async with shop.working(listed(swallows), concurrency=1, grace_seconds=0.1):
        await begun.wait()
    released.set()
    assert await shop.rows("SELECT DISTINCT state, attempts FROM receiver.dispatch") == [("ready", 0)]
    assert await shop.effects() == 0


async def test_a_list_that_will_not_stop_is_left_behind_and_nobody_is_blamed(shop: Shop) -> None:
    """Only the one that hangs when it is alone has an attempt that failed."""
    events = [await shop.deliver() for _ in range(4)]
    ODD.add(events[2])
    released = asyncio.Event()
    left: list[asyncio.Task[object] | None] = []

    async def swallows(given: list[Event], tx: RawTransaction) -> None:
        await write(given, tx)
        if odd(given):
            left.append(asyncio.current_task())
        while odd(given) and not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    async with shop.working(listed(swallows, timeout=0.2), concurrency=1, lease_seconds=1):
        await shop.until_done()
    released.set()
    await asyncio.wait([task for task in left if task is not None])
    assert {row[0]: row[1:] for row in await shop.rows(STATES)} == dict.fromkeys(events, ("succeeded", 1, None)) | {
        events[2]: WORN_OUT
    }
    assert await shop.effects() == 3


def test_a_list_needs_a_length() -> None:
    with pytest.raises(HandlerError, match="as_list=True needs to know how long a list may be"):
        listed(write, batch=1)
