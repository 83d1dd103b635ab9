"""What handlers emit: with their effect or not at all, once, in order, and handed on from handler to handler."""

import asyncio
import datetime as dt
import random
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from receiver import Dead, EmitError, Event, Receiver, RetryPolicy
from receiver.events import INTERNAL, parse_exactly
from receiver.handlers.handler import Function
from receiver.storage.replays import replay_event
from tests.dispatch.conftest import Shop

EFFECT = text("INSERT INTO effect VALUES (:id, :handler, :note)")
PAYLOAD = {"order": "o_1", "total": Decimal("12.50"), "big": 2**70}
EVENTS = "SELECT type, external_id, entity_id FROM receiver.event WHERE source = 'internal' ORDER BY id"
NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver(retry=RetryPolicy(first=0.01, factor=1, cap=0.01, attempts=3))


async def write(event: Event, tx: AsyncSession, note: str = "") -> None:
    await tx.execute(EFFECT, {"id": event.id, "handler": event.handler, "note": note})


@asynccontextmanager
async def working(shop: Shop, receiver: Receiver) -> AsyncIterator[None]:
    readers = {INTERNAL: parse_exactly, "stripe": parse_exactly}
    async with shop.working(receiver.handlers, readers=readers):
        yield


def heard(receiver: Receiver, kind: str = "order.paid", **options: object) -> list[Event]:
    """What a handler on `internal` is given, in this order; it leaves an effect for each."""
    events: list[Event] = []

    async def hear(event: Event, tx: AsyncSession) -> None:
        events.append(event)
        await write(event, tx)

    receiver.on(INTERNAL, kind, **options)(hear)  # type: ignore[arg-type]
    return events


def pay_async(receiver: Receiver) -> Function:
    async def pay(event: Event, tx: AsyncSession) -> None:
        emitted = await receiver.emit(tx, "order.paid", PAYLOAD, key="o_1", entity_id="o_1", occurred_at=NOON)
        await write(event, tx, f"{emitted.id} {emitted.new}")

    return pay


def pay_sync(receiver: Receiver) -> Function:
    def pay(event: Event, tx: Session) -> None:
        emitted = receiver.emit_sync(tx, "order.paid", PAYLOAD, key="o_1", entity_id="o_1", occurred_at=NOON)
        tx.execute(EFFECT, {"id": event.id, "handler": "pay", "note": f"{emitted.id} {emitted.new}"})

    return pay


@pytest.mark.parametrize("made", [pay_async, pay_sync])
async def test_follow_up_is_handled_once_with_all_that_it_was_given(
    shop: Shop, receiver: Receiver, made: Callable[[Receiver], Function]
) -> None:
    receiver.on("stripe")(made(receiver))
    events = heard(receiver)
    for _ in range(2):  # the second payment says the same of the same order
        await shop.deliver("pay")
        async with working(shop, receiver):
            await shop.until_done()
    (event,) = events
    assert event.data == PAYLOAD
    assert (event.source, event.provider, event.type) == ("internal", "internal", "order.paid")
    assert (event.external_id, event.entity_id, event.occurred_at) == ("order.paid:o_1", "o_1", NOON)
    assert (event.livemode, event.headers, event.id.version) == (None, {}, 7)
    assert event.trust == "internal"
    notes = await shop.rows("SELECT note FROM effect WHERE handler = 'pay' ORDER BY note")
    assert notes == [(f"{event.id} False",), (f"{event.id} True",)]
    assert await shop.value("SELECT count(*) FROM effect WHERE handler = 'hear'") == 1


async def test_nothing_is_emitted_by_a_run_that_fails(shop: Shop, engine: AsyncEngine, receiver: Receiver) -> None:
    runs = []

    @receiver.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        emitted = await receiver.emit(tx, "order.paid", PAYLOAD, key="o_1")
        assert emitted.new
        await write(event, tx)
        async with engine.connect() as other:
            runs.append(await other.scalar(text("SELECT count(*) FROM receiver.event WHERE source = 'internal'")))
        if event.attempt < 3:
            raise ValueError
        await write(event, tx)

    heard(receiver)
    await shop.deliver("pay")
    async with working(shop, receiver):
        await shop.until_done()
    assert runs == [0, 0, 0], "nobody sees it before the commit"
    assert await shop.rows(EVENTS) == [("order.paid", "order.paid:o_1", None)]
    assert await shop.value("SELECT count(*) FROM effect WHERE handler = 'hear'") == 1


async def test_nothing_is_emitted_by_a_run_that_ends_dead(shop: Shop, receiver: Receiver) -> None:
    @receiver.on("stripe")
    async def pay(_event: Event, tx: AsyncSession) -> None:
        await receiver.emit(tx, "order.paid", PAYLOAD, key="o_1")
        raise Dead("no_such_order")

    heard(receiver)
    await shop.deliver("pay")
    async with working(shop, receiver):
        await shop.until_done()
    assert await shop.rows("SELECT count(*) FROM receiver.event WHERE source = 'internal'") == [(0,)]
    assert await shop.rows("SELECT handler FROM receiver.dispatch") == [("pay",)]
    alone = "SELECT count(*) FROM receiver.dedup_key WHERE event_id NOT IN (SELECT id FROM receiver.event)"
    assert await shop.rows(alone) == [(0,)]


async def test_replay_emits_nothing_new(shop: Shop, receiver: Receiver) -> None:
    receiver.on("stripe")(pay_async(receiver))
    keys = []

    @receiver.on(INTERNAL)
    async def mail(event: Event, tx: AsyncSession) -> None:
        keys.append(event.idempotency_key("receipt"))
        await write(event, tx)
        if len(keys) == 1:
            raise ValueError

    await shop.deliver("pay")
    async with working(shop, receiver):
        await shop.until_done()
        async with shop.transaction() as connection:
            for (event_id,) in await shop.rows("SELECT id FROM receiver.event"):
                assert await replay_event(connection, uuid.UUID(str(event_id)), None, again=True)
        await shop.until_done()
    assert len(keys) == 3
    assert len(set(keys)) == 1, "one key over attempts and replays"
    assert await shop.rows(EVENTS) == [("order.paid", "order.paid:o_1", "o_1")]


async def test_handlers_hand_on_to_each_other(shop: Shop, receiver: Receiver) -> None:
    @receiver.on("stripe")
    @receiver.on(INTERNAL, "step.*")
    async def step(event: Event, tx: AsyncSession) -> None:
        number = int((event.type or "").rpartition(".")[2]) if event.source == INTERNAL else 0
        await write(event, tx, str(number))
        if number < 5:
            await receiver.emit(tx, f"step.{number + 1}", number, key=str(event.entity_id), entity_id="e")

    await shop.deliver("step")
    async with working(shop, receiver):
        await shop.until_done()
    notes = await shop.rows("SELECT note FROM effect ORDER BY note")
    assert notes == [("0",), ("1",), ("2",), ("3",), ("4",), ("5",)]


async def test_a_lane_keeps_what_was_emitted_in_order(shop: Shop, receiver: Receiver) -> None:
    @receiver.on("stripe")
    async def pay(_event: Event, tx: AsyncSession) -> None:
        for entity in ("o_1", "o_2"):
            for number in reversed(range(10)):
                at = NOON + dt.timedelta(seconds=number)
                await receiver.emit(
                    tx, "order.step", number, key=f"{entity}-{number}", entity_id=entity, occurred_at=at
                )

    events = heard(receiver, "order.step", lane="entity")
    await shop.deliver("pay")
    async with working(shop, receiver):
        await shop.until_done()
    assert len(events) == 20
    for entity in ("o_1", "o_2"):
        assert [event.data for event in events if event.entity_id == entity] == list(range(10))


async def test_lane_by_a_function_of_the_payload_and_by_arrival(shop: Shop, receiver: Receiver) -> None:
    def customer(event: Event) -> str | None:
        match event.data:
            case {"customer": str(name)}:
                return name
            case _:
                return None

    @receiver.on("stripe")
    async def pay(_event: Event, tx: AsyncSession) -> None:
        for number in range(10):
            await receiver.emit(tx, "order.step", {"customer": "c", "n": number}, key=str(number))

    events = heard(receiver, "order.step", lane=customer)
    await shop.deliver("pay")
    async with working(shop, receiver):
        await shop.until_done()
    assert [event.data for event in events] == [{"customer": "c", "n": number} for number in range(10)]
    assert await shop.rows(
        "SELECT count(DISTINCT lane), count(lane) FROM receiver.dispatch WHERE handler = 'hear'"
    ) == [(1, 10)]


async def test_savepoint_undoes_what_was_emitted_in_it(shop: Shop, receiver: Receiver) -> None:
    @receiver.on("stripe")
    async def pay(_event: Event, tx: AsyncSession) -> None:
        async with tx.begin_nested() as savepoint:
            await receiver.emit(tx, "order.paid", "undone", key="o_1")
            await savepoint.rollback()
        assert (await receiver.emit(tx, "order.paid", "kept", key="o_1")).new

    events = heard(receiver)
    await shop.deliver("pay")
    async with working(shop, receiver):
        await shop.until_done()
    assert [event.data for event in events] == ["kept"]


async def test_conflict_leaves_the_transaction_to_the_handler(shop: Shop, receiver: Receiver) -> None:
    @receiver.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        first = await receiver.emit(tx, "order.paid", {"total": 1}, key="o_1")
        with pytest.raises(EmitError, match=str(first.id)) as refused:
            await receiver.emit(tx, "order.paid", {"total": 2}, key="o_1")
        assert refused.value.reason == "emit_conflict"
        with pytest.raises(EmitError):
            await receiver.emit(tx, "order.paid", {"total": 1}, key="o_1", entity_id="o_1")
        assert await receiver.emit(tx, "order.paid", {"total": 1}, key="o_1") == type(first)(id=first.id, new=False)
        await write(event, tx)

    events = heard(receiver)
    await shop.deliver("pay")
    async with working(shop, receiver):
        await shop.until_done()
    assert [event.data for event in events] == [{"total": 1}]
    assert await shop.value("SELECT count(*) FROM effect WHERE handler = 'pay'") == 1


async def test_conflict_that_is_not_caught_is_the_reason_of_the_run(shop: Shop, receiver: Receiver) -> None:
    @receiver.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        await write(event, tx)
        for total in (1, 2):
            await receiver.emit(tx, "order.paid", {"total": total}, key="o_1")

    await shop.deliver("pay")
    async with working(shop, receiver):
        await shop.until_done()
    assert next(reason for _, _, reason in await shop.attempts()) == "emit_conflict"
    assert await shop.effects() == 0
    assert await shop.rows(EVENTS) == []


async def test_event_that_nobody_wants_is_stored_all_the_same(shop: Shop, receiver: Receiver) -> None:
    receiver.on("stripe")(pay_async(receiver))
    await shop.deliver("pay")
    async with working(shop, receiver):
        await shop.until_done()
    assert await shop.rows(EVENTS) == [("order.paid", "order.paid:o_1", "o_1")]
    assert await shop.rows("SELECT handler FROM receiver.dispatch") == [("pay",)]


@pytest.mark.parametrize(("failpoint", "stored"), [("worker_before_commit", 0), ("worker_after_commit", 1)])
async def test_worker_that_dies_around_its_commit(shop: Shop, receiver: Receiver, failpoint: str, stored: int) -> None:
    await shop.deliver("emits")
    with shop.program("emits,hear", failpoint, lease_seconds=1) as process:
        assert await asyncio.to_thread(process.wait, 15) == -signal.SIGKILL
    assert len(await shop.rows(EVENTS)) == stored

    @receiver.on("stripe")
    async def emits(event: Event, tx: AsyncSession) -> None:
        await receiver.emit(tx, "order.paid", "o_1", key="o_1")
        await write(event, tx)

    events = heard(receiver)
    async with working(shop, receiver):
        await shop.until_done()
    assert len(await shop.rows(EVENTS)) == len(events) == 1
    assert await shop.rows("SELECT handler FROM effect ORDER BY 1") == [("emits",), ("hear",)]


async def test_of_two_open_transactions_one_emits(shop: Shop, engine: AsyncEngine, receiver: Receiver) -> None:
    heard(receiver)
    for commits in (True, False):
        key = f"o_{commits}"
        async with AsyncSession(engine) as one, AsyncSession(engine) as other:
            first = await receiver.emit(one, "order.paid", 1, key=key)
            second = asyncio.create_task(receiver.emit(other, "order.paid", 1, key=key))
            await shop.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            await (one.commit() if commits else one.rollback())
            emitted = await second
            assert emitted.new is not commits
            assert (emitted.id == first.id) is commits
            await other.commit()
    assert await shop.rows("SELECT count(*), count(DISTINCT event_id) FROM receiver.dispatch") == [(2, 2)]
    assert len(await shop.rows(EVENTS)) == 2


async def test_conflict_with_a_transaction_that_was_open(shop: Shop, engine: AsyncEngine, receiver: Receiver) -> None:
    async with AsyncSession(engine) as one, AsyncSession(engine) as other:
        await receiver.emit(one, "order.paid", 1, key="o_1")
        second = asyncio.create_task(receiver.emit(other, "order.paid", 2, key="o_1"))
        await shop.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        await one.commit()
        with pytest.raises(EmitError) as refused:
            await second
    assert refused.value.reason == "emit_conflict"


async def test_opposite_orders_deadlock_and_both_handlers_succeed(shop: Shop, receiver: Receiver) -> None:
    meeting = asyncio.Barrier(2)
    failed: list[str] = []

    def emits(name: str, *keys: str) -> None:
        async def handler(event: Event, tx: AsyncSession) -> None:
            try:
                await receiver.emit(tx, "order.paid", 1, key=keys[0])
                if event.attempt == 1:
                    await meeting.wait()
                await receiver.emit(tx, "order.paid", 1, key=keys[1])
            except DBAPIError:
                failed.append(name)
                raise
            await write(event, tx)

        receiver.on("stripe", name=name)(handler)

    emits("one", "a", "b")
    emits("other", "b", "a")
    events = heard(receiver)
    await shop.deliver("one", "other")
    async with working(shop, receiver):
        await shop.until_done()
    assert len(failed) == 1
    assert sorted(event.external_id for event in events) == ["order.paid:a", "order.paid:b"]
    assert await shop.value("SELECT count(*) FROM effect WHERE handler IN ('one', 'other')") == 2


async def test_every_payment_is_followed_once_whatever_fails(shop: Shop, receiver: Receiver) -> None:
    draw = random.Random(7)
    patient = RetryPolicy(first=0.01, factor=1, cap=0.01, attempts=100)

    @receiver.on("stripe", retry=patient)
    async def pay(event: Event, tx: AsyncSession) -> None:
        await write(event, tx)
        for kind in ("order.paid", "stock.taken"):
            await receiver.emit(tx, kind, event.external_id, key=event.external_id, entity_id=str(draw.randrange(5)))
        if draw.random() < 0.4:
            raise ValueError

    @receiver.on(INTERNAL, retry=patient, lane="entity")
    async def follow(event: Event, tx: AsyncSession) -> None:
        await write(event, tx, str(event.data))
        if draw.random() < 0.2:
            raise ValueError

    for _ in range(60):
        await shop.deliver("pay")
    async with working(shop, receiver), working(shop, receiver):
        await shop.until_done()
    assert await shop.rows(
        "SELECT handler, count(*), count(DISTINCT event_id) FROM effect GROUP BY handler ORDER BY handler"
    ) == [("follow", 120, 120), ("pay", 60, 60)]
    assert await shop.rows("SELECT count(*) FROM receiver.event WHERE source = 'internal'") == [(120,)]


def test_the_wrong_session_is_refused_at_once(receiver: Receiver) -> None:
    with pytest.raises(EmitError, match="emit_sync") as plain:
        receiver.emit(Session(), "a", 1, key="k")  # type: ignore[arg-type, unused-coroutine]
    with pytest.raises(EmitError, match="await") as asynchronous:
        receiver.emit_sync(AsyncSession(), "a", 1, key="k")  # type: ignore[arg-type]
    assert {plain.value.reason, asynchronous.value.reason} == {"emit_session"}
