"""A run in a test comes to what the same run comes to at a worker, and leaves the same behind."""

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from receiver import Dead, Event, Receiver, Retry, RetryPolicy
from receiver.errors import HandlerError
from receiver.handlers import Registry
from receiver.handlers.handler import Function
from receiver.testing import Outcome, make_event, run_handler
from tests.dispatch.conftest import Shop

EFFECT = text("INSERT INTO effect VALUES (:id, :handler, '')")
COUNT = text("SELECT count(*) FROM effect")
SLOW = RetryPolicy(first=1000, factor=3, cap=5000, attempts=4, jitter="none")
RELEASE = threading.Event()


class Base(DeclarativeBase):
    pass


class Stock(Base):
    __tablename__ = "stock"
    id: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]


async def write(event: Event, tx: AsyncSession) -> None:
    await tx.execute(EFFECT, {"id": event.id, "handler": event.handler})


def write_sync(event: Event, tx: Session) -> None:
    tx.execute(EFFECT, {"id": event.id, "handler": event.handler})


async def writes_nothing(_event: Event, _tx: AsyncSession) -> None: ...


async def leaves_savepoints(event: Event, tx: AsyncSession) -> None:
    await tx.begin_nested()
    await write(event, tx)
    await tx.begin_nested()
    await write(event, tx)


def leaves_savepoints_sync(event: Event, tx: Session) -> None:
    with tx.begin_nested() as savepoint:
        write_sync(event, tx)
        savepoint.rollback()
    tx.begin_nested()
    write_sync(event, tx)


async def leaves_object(_event: Event, tx: AsyncSession) -> None:
    tx.add(Stock(id=3, count=5))


def leaves_object_sync(_event: Event, tx: Session) -> None:
    tx.add(Stock(id=3, count=5))


async def leaves_bad_object(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    tx.add(Stock(id=3, count=-1))


async def raises(event: Event, tx: AsyncSession) -> None:
    await tx.begin_nested()
    await write(event, tx)
    raise ValueError("no such order")


def raises_sync(event: Event, tx: Session) -> None:
    tx.begin_nested()
    write_sync(event, tx)
    raise ValueError("no such order")


async def asks_again(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    raise Retry(after=30, reason="order_not_written_yet")


async def asks_the_policy(_event: Event, _tx: AsyncSession) -> None:
    raise Retry


def gives_up(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    raise Dead("no_such_order")


async def commits(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await tx.commit()


async def closes(event: Event, tx: AsyncSession) -> None:
    async with tx:
        await write(event, tx)


def rolls_back_sync(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    tx.rollback()


async def rolls_back_behind(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    transaction = tx.get_transaction()
    assert transaction is not None
    await transaction.rollback()


async def rolls_back_below(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await (await tx.connection()).rollback()


async def closes_below(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await (await tx.connection()).close()


async def swallows_error(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    with suppress(SQLAlchemyError):
        await tx.execute(text("SELECT 1 / 0"))


async def swallows_flush_error(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    tx.add(Stock(id=1, count=1))
    with suppress(SQLAlchemyError):
        await tx.flush()


async def defers_constraint(event: Event, tx: AsyncSession) -> None:
    await tx.execute(text("CREATE TABLE later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    await write(event, tx)
    await tx.execute(text("INSERT INTO later VALUES (1), (1)"))


async def exits(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    raise SystemExit(1)


async def cancels_itself(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    raise asyncio.CancelledError


def returns_coroutine(event: Event, tx: AsyncSession) -> object:
    return write(event, tx)


async def hangs(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await asyncio.sleep(60)


def hangs_sync(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    RELEASE.wait(60)


async def hangs_in_database(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await tx.execute(text("SELECT pg_sleep(60)"))


def hangs_in_database_sync(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    tx.execute(text("SELECT pg_sleep(60)"))


async def is_cut(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


async def commits_by_sql(_event: Event, tx: AsyncSession) -> None:
    await tx.execute(text("COMMIT"))


def rolls_back_by_sql(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    tx.execute(text("ROLLBACK"))


async def begins_anew_by_sql(event: Event, tx: AsyncSession) -> None:
    await tx.execute(text("COMMIT"))
    await tx.execute(text("BEGIN"))
    await write(event, tx)


CUT = [
    *[rolls_back_below, closes_below, hangs, hangs_sync, hangs_in_database, hangs_in_database_sync, is_cut],
    *[exits, cancels_itself],
]
"""They take the transaction of the test with them."""
ENDED = [commits_by_sql, rolls_back_by_sql, begins_anew_by_sql]
"""They end it."""
OTHERS = [
    *[write, write_sync, writes_nothing, leaves_savepoints, leaves_savepoints_sync, leaves_object, leaves_object_sync],
    *[leaves_bad_object, raises, raises_sync, asks_again, asks_the_policy, gives_up, commits, closes, rolls_back_sync],
    *[rolls_back_behind, swallows_error, swallows_flush_error, defers_constraint, returns_coroutine],
]


def shop_with(function: Function, *, timeout: float | None = 0.5, retry: RetryPolicy = SLOW) -> Receiver:
    receiver = Receiver()
    receiver.on("stripe", "charge.*", name="pay", retry=retry, timeout=timeout)(function)
    return receiver


async def at_a_worker(shop: Shop, receiver: Receiver) -> tuple[object, ...]:
    """State, reason and delay of one run."""
    await shop.deliver()
    async with shop.working(receiver.handlers):
        await shop.until("SELECT count(*) = 1 FROM receiver.every_attempt")
    (row,) = await shop.rows(
        "SELECT outcome, a.reason,"
        " CASE outcome WHEN 'retry' THEN extract(epoch FROM due_at - a.finished_at)::float8 END"
        " FROM receiver.every_attempt a JOIN receiver.dispatch USING (event_id, handler)"
    )
    return row


def told(outcome: Outcome) -> tuple[object, ...]:
    return outcome.state, outcome.reason, outcome.delay


@pytest.mark.filterwarnings("ignore:transaction already deassociated")  # SQLAlchemy's, where a handler did that
@pytest.mark.parametrize("function", [*OTHERS, *CUT, *ENDED])
async def test_a_run_comes_to_the_same_as_at_a_worker(shop: Shop, tx: AsyncSession, function: Function) -> None:
    RELEASE.clear()
    receiver = shop_with(function)
    outcome = await run_handler(receiver, make_event("stripe", "charge.paid"), tx)
    await tx.rollback()
    assert told(outcome) == await at_a_worker(shop, receiver)
    RELEASE.set()


@pytest.mark.parametrize("function", OTHERS)
async def test_a_run_leaves_the_same_behind_as_at_a_worker(shop: Shop, tx: AsyncSession, function: Function) -> None:
    """And the transaction of the test goes on."""
    RELEASE.clear()
    receiver = shop_with(function)
    await tx.execute(text("INSERT INTO outside VALUES ('before')"))
    outcome = await run_handler(receiver, make_event("stripe", "charge.paid"), tx)
    assert (outcome.error is None) is (outcome.state == "succeeded")
    await tx.execute(text("INSERT INTO outside VALUES ('after')"))
    left = await tx.scalar(COUNT), await tx.scalar(text("SELECT count(*) FROM stock"))
    assert await shop.effects() == 0  # nobody else sees it
    await tx.commit()
    assert await shop.effects() == left[0]
    assert await shop.value("SELECT count(*) FROM outside") == 2
    await tx.execute(text("DELETE FROM effect"))
    await tx.execute(text("DELETE FROM stock WHERE id = 3"))
    await tx.commit()
    await at_a_worker(shop, receiver)
    assert left == (await shop.effects(), await shop.value("SELECT count(*) FROM stock"))
    RELEASE.set()


@pytest.mark.parametrize("function", [leaves_savepoints, raises, raises_sync, rolls_back_behind])
async def test_savepoints_of_the_test_stay(tx: AsyncSession, function: Function) -> None:
    async with tx.begin_nested() as mine:
        await tx.execute(text("INSERT INTO outside VALUES ('mine')"))
        await run_handler(shop_with(function), make_event("stripe", "charge.paid"), tx)
        assert await tx.scalar(text("SELECT count(*) FROM outside")) == 1
        await mine.rollback()
    assert await tx.scalar(text("SELECT count(*) FROM outside")) == 0
    assert await tx.scalar(COUNT) == 0


async def test_deferred_constraints_are_deferred_again(tx: AsyncSession) -> None:
    await tx.execute(text("CREATE TABLE later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    outcome = await run_handler(shop_with(write), make_event("stripe", "charge.paid"), tx)
    assert outcome.state == "succeeded"
    await tx.execute(text("INSERT INTO later VALUES (1), (1)"))


async def test_objects_of_the_test_are_written_before_and_expired_after(tx: AsyncSession) -> None:
    async def takes(_event: Event, tx: AsyncSession) -> None:
        (await tx.get_one(Stock, 9)).count -= 1

    stock = Stock(id=9, count=5)
    tx.add(stock)
    outcome = await run_handler(shop_with(takes), make_event("stripe", "charge.paid"), tx)
    assert outcome.state == "succeeded", outcome.error
    assert (await tx.get_one(Stock, 9)).count == 4
    assert stock.count == 4


async def test_a_connection_will_do(tx: AsyncSession) -> None:
    connection: AsyncConnection = await tx.connection()
    assert (await run_handler(shop_with(write_sync), make_event("stripe", "charge.paid"), connection)).error is None
    assert (await connection.execute(COUNT)).scalar_one() == 1


async def test_the_last_attempt_that_fails_is_dead(tx: AsyncSession) -> None:
    event = make_event("stripe", "charge.paid", attempt=4)
    assert told(await run_handler(shop_with(raises), event, tx)) == ("dead", "attempts_exhausted", None)


async def test_the_delay_is_the_longest_that_jitter_allows(tx: AsyncSession) -> None:
    receiver = shop_with(raises, retry=RetryPolicy(first=2, factor=3, cap=100))
    event = make_event("stripe", "charge.paid", attempt=3)
    assert told(await run_handler(receiver, event, tx)) == ("retry", "handler_raised", 18)


async def test_who_cancels_the_test_is_heard(tx: AsyncSession) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await run_handler(shop_with(hangs, timeout=60), make_event("stripe", "charge.paid"), tx)
    await tx.rollback()
    assert await tx.scalar(COUNT) == 0


async def test_the_session_ends_with_the_run(tx: AsyncSession) -> None:
    kept: list[AsyncSession] = []

    async def keeps(_event: Event, tx: AsyncSession) -> None:
        kept.append(tx)

    assert (await run_handler(shop_with(keeps), make_event("stripe", "charge.paid"), tx)).error is None
    with pytest.raises(SQLAlchemyError):
        await kept[0].execute(COUNT)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("invoice.paid", None, "is wanted by no handler"),
        ("charge.paid", None, "is wanted by pay, ship; one is needed"),
        ("charge.failed", "ship", "no handler 'ship' wants 'charge.failed' of 'stripe'; wanted by: pay"),
        ("charge.paid", "typo", "no handler 'typo' wants"),
    ],
)
async def test_the_handler_is_the_one_that_would_get_it(
    tx: AsyncSession, kind: str, name: str | None, message: str
) -> None:
    receiver = shop_with(write)
    receiver.on("stripe", "charge.paid", name="ship")(write_sync)
    with pytest.raises(HandlerError, match=message):
        await run_handler(receiver, make_event("stripe", kind), tx, handler=name)
    await run_handler(receiver, make_event("stripe", "charge.paid", handler="x"), tx, handler="ship")
    assert await tx.scalar(text("SELECT handler FROM effect")) == "ship"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"receiver": Registry()}, "receiver: must be Receiver, not Registry"),
        ({"receiver": None}, "receiver: must be Receiver, not NoneType"),
        ({"tx": create_async_engine("postgresql+asyncpg://")}, "tx: must be AsyncSession or .*, not AsyncEngine"),
        ({"tx": Session()}, "tx: must be AsyncSession or AsyncConnection, not Session"),
        ({"tx": "postgresql://"}, "tx: must be AsyncSession or AsyncConnection, not str"),
        ({"tx": None}, "tx: must be AsyncSession or AsyncConnection, not NoneType"),
        ({"event": None}, "event: must be Event or Sequence, not NoneType"),
        ({"event": {"type": "charge.paid"}}, "event: must be Event or Sequence, not dict"),
        ({"event": "charge.paid"}, "event: must be Event, not str"),
    ],
)
async def test_what_is_something_else_is_named(wrong: dict[str, Any], message: str) -> None:
    given = {"receiver": shop_with(write), "event": make_event("stripe", "charge.paid"), "tx": AsyncSession(), **wrong}
    with pytest.raises(HandlerError, match=message):
        await run_handler(**given)


async def write_all(events: list[Event], tx: AsyncSession) -> None:
    await tx.execute(EFFECT, [{"id": event.id, "handler": event.handler} for event in events])
    if any(event.type == "payout.odd" for event in events):
        raise Dead("odd")


def listing() -> Receiver:
    receiver = shop_with(write)
    receiver.on("stripe", "payout.*", batch=3, as_list=True)(write_all)
    return receiver


@pytest.mark.parametrize("several", [1, 3])
async def test_a_list_is_one_call(tx: AsyncSession, several: int) -> None:
    events = [make_event("stripe", "payout.paid") for _ in range(several)]
    outcome = await run_handler(listing(), events[0] if several == 1 else events, tx)
    assert outcome == Outcome(state="succeeded")
    written = await tx.execute(text("SELECT event_id, handler FROM effect"))
    assert {tuple(row) for row in written} == {(event.id, "write_all") for event in events}


async def test_a_list_fails_as_a_whole(tx: AsyncSession) -> None:
    events = [make_event("stripe", kind) for kind in ("payout.paid", "payout.odd")]
    outcome = await run_handler(listing(), events, tx)
    assert (outcome.state, outcome.reason) == ("dead", "odd")
    assert await tx.scalar(COUNT) == 0


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ([], "a handler is given one at least"),
        (["payout.paid"] * 4, "'write_all' is given 3 event\\(s\\) at most, not 4"),
        (["charge.paid"] * 2, "'pay' is given 1 event\\(s\\) at most, not 2"),
        (["payout.paid", "charge.paid"], "wanted by 'write_all' and 'pay'"),
    ],
)
async def test_lists_that_no_handler_would_be_given(tx: AsyncSession, kinds: list[str], message: str) -> None:
    with pytest.raises(HandlerError, match=message):
        await run_handler(listing(), [make_event("stripe", kind) for kind in kinds], tx)
