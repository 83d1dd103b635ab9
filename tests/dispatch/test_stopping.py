"""A worker that stops without grace while it records what has become of a run, or begins one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from receiver import RawTransaction
from receiver.dispatch import dispatcher
from receiver.dispatch.bench import Bench
from receiver.events import Event
from receiver.handlers import Confirmation, Confirmed, NotYet, RawFunction, Registry
from receiver.storage.connection import ANSWER_SECONDS
from tests.dispatch.conftest import Shop, until
from tests.dispatch.test_carried import LOCK, REFUSED, WAIT, Lent, Row, by_raw_and_session, is_refused, write
from tests.dispatch.test_chained import WAITING

STATES = "SELECT DISTINCT state, attempts, reason FROM receiver.dispatch"
RECORDING = f"{WAIT} CREATE TRIGGER waits BEFORE INSERT ON receiver.attempt FOR EACH ROW EXECUTE FUNCTION waits()"
BEGINNING = f"""
{WAIT} CREATE TRIGGER waits BEFORE UPDATE ON receiver.dispatch FOR EACH ROW
    WHEN (OLD.state = 'leased' AND NEW.state = 'succeeded') EXECUTE FUNCTION waits()
"""

GIVING_UP = 0.2
"""Seconds in which who gives up has done so: a wrong one would else be answered before PostgreSQL hears of it."""


class Gate:
    """Holds what a trigger has it hold."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shop = shop
        self._cancelled = asyncio.Event()
        original = Bench.cancel

        def cancel(bench: Bench) -> list[asyncio.Task[None]]:
            tasks = original(bench)
            self._cancelled.set()
            return tasks

        monkeypatch.setattr(Bench, "cancel", cancel)

    @asynccontextmanager
    async def held(self, what: str, *, opens: bool = True) -> AsyncIterator[None]:
        """Hold it until all slots have been told to stop, or until the end of the block."""
        await self._shop.execute(what)
        holding = await asyncpg.connect(self._shop.database_url)
        try:
            await holding.execute(f"SELECT pg_advisory_lock({LOCK})")
            opening = asyncio.create_task(self._open(holding)) if opens else None
            yield
            if opening is not None:
                await opening
        finally:
            await holding.close()

    async def _open(self, holding: "asyncpg.Connection[asyncpg.Record]") -> None:
        await self._cancelled.wait()
        await asyncio.sleep(GIVING_UP)
        await holding.execute(f"SELECT pg_advisory_unlock({LOCK})")


@pytest.fixture
def gate(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(shop, monkeypatch)


async def fails(_event: Event, _tx: RawTransaction) -> None:
    raise ValueError


async def waits(_event: Event, tx: RawTransaction) -> None:
    await tx.execute(f"SELECT pg_advisory_xact_lock({LOCK})")


def paying(function: RawFunction, *, batch: int = 1) -> Registry:
    registry = Registry()
    registry.on("stripe", name="pay", raw=True, batch=batch)(function)
    return registry


@pytest.mark.parametrize("batch", [1, 3])
async def test_what_failed_is_recorded(shop: Shop, gate: Gate, batch: int) -> None:
    for _ in range(batch):
        await shop.deliver()
    async with gate.held(RECORDING), shop.working(paying(fails, batch=batch), concurrency=1, grace_seconds=0):
        await shop.until(WAITING)
    assert await shop.rows(STATES) == [("ready", 1, "handler_raised")]
    assert await shop.attempts() == [(1, "retry", "handler_raised")] * batch


async def test_what_was_not_confirmed_is_recorded(shop: Shop, gate: Gate) -> None:
    async def asks(_event: Event) -> Confirmed:
        raise NotYet

    await shop.deliver()
    confirmations = {"stripe": Confirmation(function=asks)}
    async with (
        gate.held(RECORDING),
        shop.working(paying(fails), confirmations=confirmations, concurrency=1, grace_seconds=0),
    ):
        await shop.until(WAITING)
    assert await shop.dispatch() == ("ready", 0, "not_yet")


async def test_what_has_not_begun_is_due_again(shop: Shop, gate: Gate) -> None:
    await shop.deliver()
    async with gate.held(BEGINNING), shop.working(paying(fails), concurrency=1, grace_seconds=0):
        await shop.until(WAITING)
        stopped = time.monotonic()
    assert time.monotonic() - stopped < ANSWER_SECONDS / 2  # nobody waits for the lock that its beginning had
    assert await shop.dispatch() == ("ready", 0, None)
    assert await shop.attempts() == []


@by_raw_and_session
async def test_a_commit_that_is_refused_is_recorded_and_what_was_behind_it_is_due_again(
    shop: Shop, gate: Gate, raw: bool
) -> None:
    await shop.execute(REFUSED)
    row = Row(shop, is_refused, write, raw=raw)
    async with gate.held(RECORDING), row.running(finish=False, grace=0):
        await shop.until(WAITING)
    assert [(state, effects) for state, _, effects in await row.came_to()] == [("dead", 0), ("ready", 0)]
    assert await shop.value("SELECT attempts FROM receiver.dispatch WHERE state = 'ready'") == 0


async def waits_for_what_was_cancelled(event: Event, tx: Lent) -> None:
    try:
        await write(event, tx)
    except Exception:  # noqa: BLE001 - whatever it was
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future


@by_raw_and_session
async def test_what_is_cancelled_otherwise_behind_it_is_due_again_too(shop: Shop, gate: Gate, raw: bool) -> None:
    await shop.execute(REFUSED)
    row = Row(shop, is_refused, waits_for_what_was_cancelled, raw=raw)
    async with gate.held(RECORDING), row.running(finish=False, grace=0):
        await shop.until(WAITING)
    assert [(state, effects) for state, _, effects in await row.came_to()] == [("dead", 0), ("ready", 0)]


async def test_what_a_slot_had_in_hand_is_due_again(shop: Shop) -> None:
    """Its handler has ended the task that serves it, and nobody has looked since."""
    ended = asyncio.Event()

    async def ends_the_task(_event: Event, _tx: RawTransaction) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: ended.set())
        task.cancel()
        await asyncio.sleep(10)

    async with shop.transaction():
        for _ in range(3):
            await shop.deliver()
    async with shop.working(paying(ends_the_task, batch=3), concurrency=1, grace_seconds=0):
        await ended.wait()
    assert await shop.rows("SELECT state, attempts FROM receiver.dispatch") == [("ready", 0)] * 3


@pytest.mark.parametrize(("batch", "becomes"), [(1, ("succeeded", 1, None)), (3, ("ready", 0, None))])
async def test_who_swallows_it_keeps_nobody_waiting(shop: Shop, batch: int, becomes: tuple[object, ...]) -> None:
    """Of a batch, the others are not called: it is begun anew elsewhere, with the one that had swallowed it."""
    called = asyncio.Queue[Event]()

    async def swallows(event: Event, _tx: RawTransaction) -> None:
        called.put_nowait(event)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    async with shop.transaction():
        for _ in range(batch):
            await shop.deliver()
    async with shop.working(paying(swallows, batch=batch), concurrency=1, grace_seconds=0):
        await called.get()
        stopped = time.monotonic()
    assert time.monotonic() - stopped < dispatcher._LAST_SECONDS - 1
    assert called.empty()
    assert await shop.rows(STATES) == [becomes]


async def test_a_slot_that_is_ended_while_a_run_begins(shop: Shop, gate: Gate) -> None:
    """By what a handler has left, perhaps; nobody stops, and the run begins in the slot that comes in its place."""
    tasks: list[asyncio.Task[object]] = []

    async def pays(event: Event, tx: RawTransaction) -> None:
        await write(event, tx)
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)

    async with shop.working(paying(pays), concurrency=1):
        await shop.deliver()
        await until(lambda: len(shop.runs.heard) == 1)
        async with gate.held(BEGINNING, opens=False):
            await shop.deliver()
            await shop.until(WAITING)
            tasks[0].cancel()
            await until(tasks[0].done)
        await shop.until_done()
    assert await shop.effects() == 2
    assert shop.runs.heard == [("pay", "succeeded")] * 2


@pytest.mark.parametrize("function", [fails, waits])
async def test_a_postgres_that_does_not_answer_is_not_waited_for(
    shop: Shop, gate: Gate, monkeypatch: pytest.MonkeyPatch, function: RawFunction
) -> None:
    monkeypatch.setattr(dispatcher, "_LAST_SECONDS", 0.2)
    await shop.deliver()
    async with gate.held(RECORDING, opens=False):
        async with shop.working(paying(function), concurrency=1, grace_seconds=0):
            await shop.until(WAITING)
        assert [task for task in asyncio.all_tasks() if task.get_name() == "receiver-slot"] == []
        assert await shop.dispatch() == ("leased", 1, None)
