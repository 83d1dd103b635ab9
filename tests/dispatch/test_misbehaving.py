"""Handlers that do what they should not, and then fail: each pays for it alone; what is out is not written again."""

import asyncio
import uuid
from contextlib import suppress
from typing import cast

import pytest
from sqlalchemy import Column, MetaData, Table, Text, Uuid, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver import RawTransaction
from receiver.events import Event
from receiver.handlers import Registry, Retry, RetryPolicy
from receiver.handlers.handler import Function, RawFunction
from tests.dispatch.conftest import Shop

EFFECT = "INSERT INTO effect VALUES ($1, $2, $3)"
BY_SESSION = text("INSERT INTO effect VALUES (:id, :handler, '')")
TWICE = RetryPolicy(first=0.01, factor=1, cap=0.01, attempts=2)
WORN_OUT = ("dead", 2, "attempts_exhausted")


def one(function: Function, *, raw: bool = True, batch: int = 1, timeout: float | None = None) -> Registry:
    registry = Registry()
    registry.on("stripe", name="pay", retry=TWICE, raw=raw, batch=batch, timeout=timeout)(function)
    registry.on("stripe", name="ship", retry=TWICE)(ships)
    return registry


async def ships(event: Event, tx: AsyncSession) -> None:
    await tx.execute(BY_SESSION, {"id": event.id, "handler": event.handler})


async def write(event: Event, tx: RawTransaction) -> None:
    await tx.execute(EFFECT, event.id, event.handler, "")


async def commits_and_raises(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.execute("COMMIT")
    raise ValueError("after it")


async def commits_and_asks_again(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.execute("COMMIT")
    raise Retry(after=0)


async def commits_and_fails(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.execute("COMMIT")
    await tx.execute("SELECT 1 / 0")


async def chains_and_raises(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.execute("COMMIT AND CHAIN")
    raise ValueError("after it")


async def chains_and_fails(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.execute("COMMIT; BEGIN")
    await tx.execute("SELECT 1 / 0")


async def commits_and_dawdles(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.execute("COMMIT")
    await asyncio.sleep(60)


async def commits_by_session(event: Event, tx: AsyncSession) -> None:
    await ships(event, tx)
    await tx.execute(text("COMMIT"))
    raise ValueError("after it")


def commits_in_thread(event: Event, tx: Session) -> None:
    tx.execute(BY_SESSION, {"id": event.id, "handler": event.handler})
    tx.execute(text("COMMIT"))
    raise ValueError("after it")


COMMITTING = [
    (commits_and_raises, True),
    (commits_and_asks_again, True),
    (commits_and_fails, True),
    (chains_and_raises, True),
    (chains_and_fails, True),
    (commits_and_dawdles, True),
    (commits_by_session, False),
    (commits_in_thread, False),
]


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(("function", "raw"), COMMITTING)
async def test_what_was_committed_by_sql_is_not_written_again(
    shop: Shop, function: Function, raw: bool, batch: int
) -> None:
    for _ in range(2):
        await shop.deliver()
    async with shop.working(one(function, raw=raw, batch=batch, timeout=0.5), concurrency=1):
        await shop.until_done()
    assert await shop.rows("SELECT DISTINCT state, attempts, reason FROM receiver.dispatch") == [
        ("dead", 1, "transaction_ended")
    ]
    assert await shop.rows("SELECT count(*), count(DISTINCT event_id) FROM effect") == [(2, 2)]


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("as_list", [False, True])
async def test_what_was_committed_by_sql_is_not_written_again_by_another_worker(
    shop: Shop, as_list: bool, stops: bool, stubborn: bool
) -> None:
    """Of a batch whose worker stops, or whose time is over; its handler lets itself be cancelled, or does not."""
    committed, released = asyncio.Event(), asyncio.Event()

    async def pay(given: Event | list[Event], tx: RawTransaction) -> None:
        for event in given if isinstance(given, list) else [given]:
            await write(event, tx)
        await tx.execute("COMMIT")
        committed.set()
        while not released.is_set():
            with suppress(asyncio.CancelledError if stubborn else TimeoutError):
                await released.wait()

    registry, timeout = Registry(), 60 if stops else 0.3
    registry.on("stripe", name="pay", retry=TWICE, raw=True, batch=5, as_list=as_list, timeout=timeout)(
        cast("RawFunction", pay)
    )
    for _ in range(2):
        await shop.deliver()
    async with shop.working(registry, concurrency=1, lease_seconds=1, grace_seconds=0):
        await committed.wait()
        if not stops:
            await shop.until_done()
    released.set()
    async with shop.working(registry, concurrency=1):
        await shop.until_done()
    assert await shop.rows("SELECT count(*), count(DISTINCT event_id) FROM effect") == [(2, 2)]


async def rolls_back_and_raises(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.execute("ROLLBACK")
    raise ValueError("after it")


async def cancels_its_task(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def cancels_and_returns(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def cancels_and_raises(event: Event, tx: RawTransaction) -> None:
    await cancels_and_returns(event, tx)
    raise ValueError


async def interrupts(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    raise KeyboardInterrupt


async def swallows_its_timeout(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(
    "function", [rolls_back_and_raises, cancels_its_task, cancels_and_raises, interrupts, swallows_its_timeout]
)
async def test_it_ends_dead_and_the_others_are_handled(shop: Shop, function: Function, batch: int) -> None:
    for _ in range(2):
        await shop.deliver("pay", "ship")
    async with shop.working(one(function, batch=batch, timeout=0.5), concurrency=2):
        await shop.until_done()
    states = await shop.rows("SELECT DISTINCT handler, state, attempts, reason FROM receiver.dispatch ORDER BY 1")
    assert states == [("pay", *WORN_OUT), ("ship", "succeeded", 1, None)]
    assert await shop.rows("SELECT handler, count(*) FROM effect GROUP BY 1") == [("ship", 2)]


@pytest.mark.parametrize("batch", [1, 5])
async def test_who_returns_succeeds_though_its_task_is_cancelled(shop: Shop, batch: int) -> None:
    for _ in range(2):
        await shop.deliver("pay", "ship")
    async with shop.working(one(cancels_and_returns, batch=batch), concurrency=1):
        await shop.until_done()
    assert await shop.rows("SELECT DISTINCT state FROM receiver.dispatch") == [("succeeded",)]
    assert await shop.rows("SELECT count(*), count(DISTINCT (event_id, handler)) FROM effect") == [(4, 4)]


async def test_interrupted_in_a_thread(shop: Shop) -> None:
    def interrupts_thread(_event: Event, _tx: Session) -> None:
        raise KeyboardInterrupt

    await shop.deliver("pay", "ship")
    async with shop.working(one(interrupts_thread, raw=False), concurrency=1):
        await shop.until_done()
    assert await shop.dispatch("pay") == WORN_OUT
    assert await shop.dispatch("ship") == ("succeeded", 1, None)


@pytest.mark.parametrize("batch", [1, 5])
async def test_a_long_raw_run_leaves_its_connection_as_it_was(shop: Shop, batch: int) -> None:
    """It outlives a heartbeat, which keeps its transaction; those behind it on its connection use sessions."""

    async def waits(event: Event, tx: RawTransaction) -> None:
        await write(event, tx)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.8):  # a beat is a third of a second
                await asyncio.Event().wait()
        await tx.session().execute(text("SELECT 1"))

    for _ in range(2):
        await shop.deliver("pay")
    async with shop.working(one(waits, batch=batch), concurrency=1, lease_seconds=1):
        await shop.until_done()
        for _ in range(3):
            await shop.deliver("ship")
        await shop.until_done()
    assert await shop.rows("SELECT DISTINCT state, attempts FROM receiver.dispatch") == [("succeeded", 1)]
    assert await shop.effects() == 5


async def test_who_commits_by_itself_is_seen_behind_the_commit_of_another(shop: Shop) -> None:
    """Its transaction was begun by that commit, whose reply has come."""
    ending: set[uuid.UUID] = set()

    async def pay(event: Event, tx: RawTransaction) -> None:
        if event.id in ending:
            await tx.execute("COMMIT")
            raise ValueError("and then")

    registry = Registry()
    registry.on("stripe", name="pay", raw=True)(pay)
    first, second = await shop.deliver(), await shop.deliver()
    ending.add(second)
    async with shop.working(registry, concurrency=1):
        await shop.until_done()
    states = {row[0]: row[1] for row in await shop.rows("SELECT event_id, state FROM receiver.dispatch")}
    assert states == {first: "succeeded", second: "dead"}


EFFECT_TABLE = Table("effect", MetaData(), Column("event_id", Uuid), Column("handler", Text))


async def pays_by_table(event: Event, tx: AsyncSession) -> None:
    await tx.execute(EFFECT_TABLE.insert(), {"event_id": event.id, "handler": event.handler})


async def writes_to_a_schema(event: Event, tx: AsyncSession) -> None:
    await tx.connection(execution_options={"schema_translate_map": {None: "shop_1"}})
    await pays_by_table(event, tx)


def writes_to_a_schema_in_thread(event: Event, tx: Session) -> None:
    tx.connection().execution_options(schema_translate_map={None: "shop_1"})
    tx.execute(EFFECT_TABLE.insert(), {"event_id": event.id, "handler": event.handler})


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("function", [writes_to_a_schema, writes_to_a_schema_in_thread])
async def test_what_one_sets_on_its_connection_is_not_for_others(shop: Shop, function: Function, batch: int) -> None:
    await shop.execute("CREATE SCHEMA shop_1; CREATE TABLE shop_1.effect (LIKE effect)")
    registry = one(function, raw=False, batch=batch)
    registry.on("stripe", name="book", retry=TWICE)(pays_by_table)
    async with shop.working(registry, concurrency=1):
        for handler in ("pay", "book"):
            for _ in range(2):
                await shop.deliver(handler)
            await shop.until_done()
    assert await shop.rows("SELECT handler, count(*) FROM effect GROUP BY 1") == [("book", 2)]
    assert await shop.rows("SELECT handler, count(*) FROM shop_1.effect GROUP BY 1") == [("pay", 2)]


async def test_who_uses_its_connection_after_the_run_does_not_keep_others_from_it(shop: Shop) -> None:
    """SQLAlchemy has begun a transaction then, which is not that of the run."""
    asked: list[asyncio.Task[None]] = []

    async def goes_on(event: Event, tx: AsyncSession) -> None:
        await ships(event, tx)
        connection = await tx.connection()

        async def ask() -> None:
            await asyncio.sleep(0.05)
            await connection.execute(text("SELECT 1"))

        asked.append(asyncio.create_task(ask()))

    async with shop.working(one(goes_on, raw=False), concurrency=1):
        await shop.deliver("pay")
        await shop.until_done()
        await asked[0]
        for _ in range(3):
            await shop.deliver("ship")
        await shop.until_done()
    assert await shop.rows("SELECT DISTINCT state, attempts FROM receiver.dispatch") == [("succeeded", 1)]
    assert await shop.effects() == 4


async def returns_while_a_task_asks(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    ASKING.append(asyncio.create_task(tx.execute("SELECT pg_sleep(60)")))
    await asyncio.sleep(0.01)  # it was sent


async def raises_while_a_task_asks(event: Event, tx: RawTransaction) -> None:
    await returns_while_a_task_asks(event, tx)
    raise ValueError


ASKING: list[asyncio.Task[str]] = []


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("function", [returns_while_a_task_asks, raises_while_a_task_asks])
async def test_a_statement_that_was_left_does_not_hold_its_slot_for_ever(
    shop: Shop, function: Function, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody watches over its time: the handler has returned."""
    monkeypatch.setattr("receiver.storage.connection._COMMIT_SECONDS", 0.3)
    ASKING.clear()
    for _ in range(2):
        await shop.deliver("pay")
    async with shop.working(one(function, batch=batch), concurrency=1):
        await shop.until("SELECT count(*) = 0 FROM receiver.dispatch WHERE state <> 'dead'", seconds=20)
        await shop.deliver("ship")
        await shop.until_done()
    await asyncio.gather(*ASKING, return_exceptions=True)
    assert await shop.rows("SELECT DISTINCT handler, state, attempts, reason FROM receiver.dispatch ORDER BY 1") == [
        ("pay", *WORN_OUT),
        ("ship", "succeeded", 1, None),
    ]
    assert await shop.effects() == 1


async def test_what_is_committed_although_a_statement_was_left_is_told_as_a_success(shop: Shop) -> None:
    """The commit was sent behind that statement, and asyncpg would not wait for its answer."""
    left: list[asyncio.Task[object]] = []

    async def leaves_a_statement(event: Event, tx: AsyncSession) -> None:
        await ships(event, tx)
        left.append(asyncio.create_task(tx.execute(text("SELECT 1"))))
        await asyncio.sleep(0)

    async with shop.working(one(leaves_a_statement, raw=False), concurrency=1):
        for _ in range(5):
            await shop.deliver("pay")
        await shop.until_done()
    await asyncio.gather(*left, return_exceptions=True)
    succeeded = await shop.value("SELECT count(*) FROM receiver.dispatch WHERE state = 'succeeded'")
    assert [shop.runs.heard.count(("pay", outcome)) for outcome in ("succeeded", "lost")] == [succeeded, 0]
    assert await shop.effects() == succeeded
