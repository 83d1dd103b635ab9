"""One run: success happens once, and whatever a handler does wrong leaves nothing behind."""

import asyncio
import threading
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from receiver.events import Event
from receiver.handlers import Dead, Registry, Retry, RetryPolicy
from receiver.handlers.handler import Function
from receiver.storage.engine import raw_connection
from receiver.storage.raw import RawTransaction
from tests.dispatch.conftest import Shop, until
from tests.dispatch.test_leases import LEASE_IS_FORGOTTEN
from tests.faults.relay import Relay

EFFECT = text("INSERT INTO effect VALUES (:id, :handler, :note)")
RELEASE = threading.Event()
LEFT_BEHIND: list[asyncio.Task[object]] = []
TWICE = RetryPolicy(first=0.01, factor=1, cap=0.01, attempts=2)


class Base(DeclarativeBase):
    pass


class Stock(Base):
    __tablename__ = "stock"
    id: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]


async def write(event: Event, tx: AsyncSession, note: str = "") -> None:
    await tx.execute(EFFECT, {"id": event.id, "handler": event.handler, "note": note})


def write_sync(event: Event, tx: Session, note: str = "") -> None:
    tx.execute(EFFECT, {"id": event.id, "handler": event.handler, "note": note})


def one(function: Function, retry: RetryPolicy = TWICE, timeout: float | None = None) -> Registry:
    registry = Registry()
    registry.on("stripe", name="pay", retry=retry, timeout=timeout)(function)
    return registry


@pytest.mark.parametrize("function", [write, write_sync])
async def test_success_is_one_effect_and_one_attempt(shop: Shop, function: Function) -> None:
    event_id = await shop.deliver()
    async with shop.working(one(function)) as worker:
        await shop.until_done()
    assert await shop.rows("SELECT event_id, handler FROM effect") == [(event_id, "pay")]
    assert await shop.dispatch() == ("succeeded", 1, None)
    assert await shop.rows(
        "SELECT number, trigger, worker, outcome, error, started_at <= finished_at FROM receiver.every_attempt"
    ) == [(1, "scheduled", worker.name, "succeeded", None, True)]
    assert shop.runs.heard == [("pay", "succeeded")]


async def test_many_succeed_once_each_over_two_workers(shop: Shop) -> None:
    for _ in range(100):
        await shop.deliver("pay", "ship")
    registry = one(write)
    registry.on("stripe", name="ship")(write_sync)
    async with shop.working(registry), shop.working(registry):
        await shop.until_done()
    assert await shop.rows("SELECT count(*), count(DISTINCT (event_id, handler)) FROM effect") == [(200, 200)]


async def test_the_next_lease_is_not_taken_for_one_that_postgres_has_forgotten(shop: Shop) -> None:  # fault 16
    """A lease does not wait for the disk: a crash may take it back, and then its number, its epoch, comes again."""
    entered, opened = asyncio.Event(), asyncio.Event()

    async def waits(event: Event, tx: AsyncSession) -> None:
        await write(event, tx)
        if not entered.is_set():
            entered.set()
            await opened.wait()

    await shop.deliver()
    async with shop.working(one(waits)):
        await entered.wait()
        await shop.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'idle in transaction'"
        )
        await shop.execute(LEASE_IS_FORGOTTEN)
        await shop.until_done()
        opened.set()
        await until(lambda: len(shop.runs.heard) == 2)
    assert shop.runs.heard == [("pay", "succeeded"), ("pay", "lost")]
    assert await shop.dispatch() == ("succeeded", 1, None)
    assert await shop.effects() == 1


async def test_who_ended_its_transaction_does_not_end_the_run_of_the_next_lease(shop: Shop) -> None:
    entered, opened = asyncio.Event(), asyncio.Event()

    async def ends_it(event: Event, tx: AsyncSession) -> None:
        if not entered.is_set():
            await (await raw_connection(await tx.connection())).execute("ROLLBACK")
            entered.set()
            await opened.wait()
        else:
            await write(event, tx)

    await shop.deliver()
    async with shop.working(one(ends_it)):
        await entered.wait()
        await shop.execute(LEASE_IS_FORGOTTEN)
        await shop.until_done()
        opened.set()
        await until(lambda: len(shop.runs.heard) == 2)
    assert await shop.dispatch() == ("succeeded", 1, None)
    assert await shop.effects() == 1


async def commits(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await tx.commit()


async def rolls_back(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await tx.rollback()


async def closes(event: Event, tx: AsyncSession) -> None:
    async with tx:
        await write(event, tx)


async def begins(event: Event, tx: AsyncSession) -> None:
    async with tx.begin():
        await write(event, tx)


def commits_sync(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    tx.commit()


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


async def swallows_database_error(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    with suppress(SQLAlchemyError):
        await tx.execute(text("SELECT 1 / 0"))


async def swallows_flush_error(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    tx.add(Stock(id=1, count=1))
    with suppress(SQLAlchemyError):
        await tx.flush()


async def leaves_bad_object(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    tx.add(Stock(id=3, count=-1))


async def exits(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    raise SystemExit(1)


def exits_sync(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    raise SystemExit(1)


async def cancels_itself(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    raise asyncio.CancelledError


async def is_cut(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def is_cut_sync(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


async def leaves_task_behind(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    sleep = text("SELECT pg_sleep(:seconds)")
    await tx.execute(sleep, {"seconds": 0.0})  # prepared by now, the next one is sent at once
    LEFT_BEHIND.append(asyncio.create_task(tx.execute(sleep, {"seconds": 30.0})))
    await asyncio.sleep(0)


def coroutine_from_def(event: Event, tx: AsyncSession) -> object:
    return write(event, tx)


async def defers_constraint(event: Event, tx: AsyncSession) -> None:
    await tx.execute(text("CREATE TABLE later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    await write(event, tx)
    await tx.execute(text("INSERT INTO later VALUES (1), (1)"))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (commits, "transaction_is_ours"),
        (rolls_back, "transaction_is_ours"),
        (closes, "transaction_is_ours"),
        (begins, "transaction_is_ours"),
        (commits_sync, "transaction_is_ours"),
        (rolls_back_sync, "transaction_is_ours"),
        (rolls_back_behind, "transaction_aborted"),
        (rolls_back_below, "transaction_aborted"),
        (closes_below, "store_unavailable"),
        (swallows_database_error, "transaction_aborted"),
        (swallows_flush_error, "transaction_aborted"),
        (leaves_bad_object, "handler_raised"),
        (exits, "handler_raised"),
        (exits_sync, "handler_raised"),
        (cancels_itself, "handler_raised"),
        (is_cut, "store_unavailable"),
        (is_cut_sync, "store_unavailable"),
        (leaves_task_behind, "handler_raised"),
        (coroutine_from_def, "handler"),
        (defers_constraint, "handler_raised"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_failure_leaves_no_effect_and_ends_dead(shop: Shop, function: Function, reason: str) -> None:
    await shop.deliver()
    async with shop.working(one(function)):
        await shop.until_done()
        await shop.deliver("pay")  # the slot is none the worse for it
        await shop.until_done()
        await asyncio.gather(*LEFT_BEHIND, return_exceptions=True)
        LEFT_BEHIND.clear()
    assert await shop.effects() == 0
    assert await shop.rows("SELECT DISTINCT state, attempts, reason FROM receiver.dispatch") == [
        ("dead", 2, "attempts_exhausted")
    ]
    assert sorted(await shop.attempts()) == [
        (1, "retry", reason),
        (1, "retry", reason),
        (2, "dead", "attempts_exhausted"),
        (2, "dead", "attempts_exhausted"),
    ]
    assert sorted(shop.runs.heard) == [("pay", "dead"), ("pay", "dead"), ("pay", "retry"), ("pay", "retry")]


async def commits_by_sql(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await tx.execute(text("COMMIT"))


async def rolls_back_by_sql(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await tx.execute(text("ROLLBACK"))


async def commits_and_begins_by_sql(event: Event, tx: AsyncSession) -> None:
    await tx.execute(text("COMMIT"))
    await tx.execute(text("BEGIN"))
    await write(event, tx)


async def commits_and_begins_below_the_session(event: Event, tx: AsyncSession) -> None:
    below = await raw_connection(await tx.connection())
    await below.execute("COMMIT; BEGIN")
    await write(event, tx)


def rolls_back_by_sql_sync(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    tx.execute(text("ROLLBACK AND CHAIN"))


@pytest.mark.parametrize(
    ("function", "effects"),
    [
        (commits_by_sql, 1),
        (rolls_back_by_sql, 0),
        (commits_and_begins_by_sql, 0),
        (commits_and_begins_below_the_session, 0),
        (rolls_back_by_sql_sync, 0),
    ],
)
async def test_transaction_ended_by_sql_is_never_a_success_and_never_repeated(
    shop: Shop, function: Function, effects: int
) -> None:
    await shop.deliver()
    async with shop.working(one(function)):
        await shop.until_done()
    assert await shop.dispatch() == ("dead", 1, "transaction_ended")
    assert await shop.attempts() == [(1, "dead", "transaction_ended")]
    assert await shop.effects() == effects


async def gives_up_in_session(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await tx.execute(text("SELECT pg_sleep(0.5)"))


async def gives_up_below_the_session(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    below = await raw_connection(await tx.connection())
    with suppress(TimeoutError):
        await below.fetch("SELECT pg_sleep($1)", 0.5, timeout=0.05)


async def gives_up_raw(event: Event, tx: RawTransaction) -> None:
    await tx.execute("INSERT INTO effect VALUES ($1, $2, NULL)", event.id, event.handler)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await tx.fetch("SELECT pg_sleep($1)", 0.5)


@pytest.mark.parametrize(
    ("function", "raw"), [(gives_up_in_session, False), (gives_up_below_the_session, False), (gives_up_raw, True)]
)
async def test_who_gives_up_a_statement_and_returns_has_not_succeeded(
    shop: Shop, function: Function, raw: bool
) -> None:
    """Whether Postgres has cancelled it by then or not: with it, what was written is undone."""
    for _ in range(3):
        await shop.deliver()
    registry = Registry(retry=TWICE)
    registry.on("stripe", name="pay", raw=raw)(function)
    async with shop.working(registry, concurrency=1):
        await shop.until_done()
    assert await shop.rows("SELECT DISTINCT state, attempts FROM receiver.dispatch") == [("dead", 2)]
    assert sorted(shop.runs.heard) == [("pay", "dead")] * 3 + [("pay", "retry")] * 3
    assert await shop.effects() == 0


async def test_a_commit_whose_reply_was_lost_is_found(shop: Shop) -> None:
    async with Relay(shop.database_url) as relay:

        async def pay(event: Event, tx: AsyncSession) -> None:
            await write(event, tx)
            relay.hold()

        await shop.deliver()
        apart = Shop(shop._connection, relay.url, shop.redis_url)
        async with apart.working(one(pay)):
            await shop.until("SELECT state = 'succeeded' FROM receiver.dispatch")
            relay.cut()
            relay.release()
    assert await shop.attempts() == [(1, "succeeded", None)]
    assert apart.runs.heard == [("pay", "succeeded")]


async def test_a_commit_that_nobody_answers_is_given_up_and_found(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection lives, and says nothing any more."""
    monkeypatch.setattr("receiver.storage.connection._COMMIT_SECONDS", 0.5)
    async with Relay(shop.database_url) as relay:

        async def pay(event: Event, tx: AsyncSession) -> None:
            await write(event, tx)
            relay.losing = True

        await shop.deliver()
        apart = Shop(shop._connection, relay.url, shop.redis_url)
        async with apart.working(one(pay)):
            await shop.until("SELECT state = 'succeeded' FROM receiver.dispatch")
            await until(lambda: relay.lost > 0)
            relay.losing = False
            await until(lambda: apart.runs.heard == [("pay", "succeeded")])
    assert await shop.attempts() == [(1, "succeeded", None)]
    assert await shop.effects() == 1


async def hangs(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await asyncio.sleep(60)


async def hangs_in_database(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await tx.execute(text("SELECT pg_sleep(60)"))


def hangs_sync(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    RELEASE.wait(60)
    write_sync(event, tx)


def hangs_in_database_sync(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    tx.execute(text("SELECT pg_sleep(60)"))


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("function", [hangs, hangs_in_database, hangs_sync, hangs_in_database_sync])
async def test_timeout_ends_the_run(
    shop: Shop, function: Function, watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a timer of its own, or, as long ones, by who looks now and then."""
    monkeypatch.setattr("receiver.dispatch.call.WATCHED", 0.1 if watched else 1)
    RELEASE.clear()
    await shop.deliver()
    async with shop.working(one(function, timeout=0.2), concurrency=1):
        await shop.until_done()
    RELEASE.set()
    assert await shop.effects() == 0
    assert await shop.attempts() == [(1, "retry", "timeout"), (2, "dead", "attempts_exhausted")]


async def test_plain_function_that_comes_back_after_its_timeout_does_no_harm(shop: Shop) -> None:
    back = threading.Event()

    def comes_back(event: Event, tx: Session) -> None:
        if event.attempt == 1:
            connection = tx.connection()
            RELEASE.wait(30)
            try:
                connection.execute(EFFECT, {"id": event.id, "handler": event.handler, "note": "late"})
            finally:
                back.set()
        write_sync(event, tx)
        RELEASE.set()
        back.wait(10)
        write_sync(event, tx)

    RELEASE.clear()
    await shop.deliver()
    async with shop.working(one(comes_back, timeout=1), concurrency=1):
        await shop.until_done()
    assert await shop.attempts() == [(1, "retry", "timeout"), (2, "succeeded", None)]
    assert await shop.effects() == 2


async def asks_again(_event: Event, _tx: AsyncSession) -> None:
    raise Retry(after=3600, reason="order_not_there_yet")


async def leaves_it_to_the_policy(_event: Event, _tx: AsyncSession) -> None:
    raise Retry


async def gives_up(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    raise Dead("card is gone")


def gives_up_sync(event: Event, tx: Session) -> None:
    write_sync(event, tx)
    raise Dead("card is gone")


async def raises(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    raise ValueError("no such order \0 \ud800 '); DROP TABLE effect; --")


SLOW = RetryPolicy(first=1000, factor=3, cap=5000, attempts=4, jitter="none")


@pytest.mark.parametrize(
    ("function", "state", "reason", "seconds"),
    [
        (asks_again, "ready", "order_not_there_yet", 3600),
        (leaves_it_to_the_policy, "ready", "retry_asked", 1000),
        (raises, "ready", "handler_raised", 1000),
        (gives_up, "dead", "card is gone", 0),
        (gives_up_sync, "dead", "card is gone", 0),
    ],
)
async def test_what_comes_next(shop: Shop, function: Function, state: str, reason: str, seconds: int) -> None:
    await shop.deliver()
    async with shop.working(one(function, SLOW)):
        await shop.until("SELECT count(*) = 1 FROM receiver.every_attempt")
    assert await shop.dispatch() == (state, 1, reason)
    assert await shop.effects() == 0
    assert (
        await shop.value(
            "SELECT extract(epoch FROM due_at - t.finished_at)::int FROM receiver.dispatch, receiver.every_attempt AS t"
        )
        == seconds
    )


async def test_back_off_grows_from_run_to_run(shop: Shop) -> None:
    await shop.deliver()
    async with shop.working(one(raises, SLOW)):
        for number in (1, 2, 3, 4):
            await shop.until("SELECT count(*) = $1 FROM receiver.every_attempt", number)
            await shop.execute("UPDATE receiver.dispatch SET due_at = now() WHERE state = 'ready'")
        waits = await shop.rows(
            "SELECT number, outcome, error LIKE '%ValueError: no such order%' FROM receiver.every_attempt ORDER BY 1"
        )
    assert waits == [(1, "retry", True), (2, "retry", True), (3, "retry", True), (4, "dead", True)]


async def test_error_of_an_attempt_names_the_place_and_not_the_values(shop: Shop) -> None:
    async def fails(_event: Event, tx: AsyncSession) -> None:
        await tx.execute(text("SELECT :secret / 0"), {"secret": 424_242})

    await shop.deliver()
    async with shop.working(one(fails)):
        await shop.until_done()
    error = str(await shop.value("SELECT error FROM receiver.every_attempt WHERE number = 1"))
    assert "division by zero" in error
    assert "in fails" in error
    assert "424242" not in error


async def test_savepoints_are_free_to_use(shop: Shop) -> None:
    async def nests(event: Event, tx: AsyncSession) -> None:
        await write(event, tx, "kept")
        try:
            async with tx.begin_nested():
                await write(event, tx, "undone")
                await tx.execute(text("SELECT 1 / 0"))
        except SQLAlchemyError:
            pass
        await tx.begin_nested()
        await write(event, tx, "left open")

    def nests_sync(event: Event, tx: Session) -> None:
        with tx.begin_nested() as savepoint:
            write_sync(event, tx, "undone")
            savepoint.rollback()
        tx.begin_nested()
        write_sync(event, tx, "left open")

    registry = one(nests)
    registry.on("stripe", name="sync")(nests_sync)
    await shop.deliver("pay", "sync")
    async with shop.working(registry):
        await shop.until_done()
    assert await shop.rows("SELECT handler, note FROM effect ORDER BY 1, 2") == [
        ("pay", "kept"),
        ("pay", "left open"),
        ("sync", "left open"),
    ]


async def test_objects_left_in_the_session_are_written(shop: Shop) -> None:
    async def takes(_event: Event, tx: AsyncSession) -> None:
        (await tx.get_one(Stock, 1)).count -= 1
        tx.add(Stock(id=3, count=5))

    def takes_sync(_event: Event, tx: Session) -> None:
        tx.get_one(Stock, 2).count -= 1
        tx.add(Stock(id=4, count=5))

    registry = one(takes)
    registry.on("stripe", name="sync")(takes_sync)
    await shop.deliver("pay", "sync")
    async with shop.working(registry):
        await shop.until_done()
    assert await shop.rows("SELECT id, count FROM stock ORDER BY id") == [(1, 9), (2, 9), (3, 5), (4, 5)]


async def test_session_kept_for_later_is_an_error(shop: Shop) -> None:
    kept: list[AsyncSession] = []

    async def keeps(event: Event, tx: AsyncSession) -> None:
        await write(event, tx)
        kept.append(tx)

    await shop.deliver()
    async with shop.working(one(keeps)):
        await shop.until_done()
        with pytest.raises(SQLAlchemyError, match="permanently closed"):
            await kept[0].execute(text("SELECT 1"))


async def test_plain_function_runs_in_a_thread_and_blocks_nobody(shop: Shop) -> None:
    inside = asyncio.Event()
    loop = asyncio.get_running_loop()
    RELEASE.clear()

    def blocks(event: Event, tx: Session) -> None:
        write_sync(event, tx)
        loop.call_soon_threadsafe(inside.set)
        RELEASE.wait(30)
        write_sync(event, tx)

    registry = one(blocks)
    registry.on("stripe", name="ship")(write)
    await shop.deliver("pay")
    async with shop.working(registry):
        await inside.wait()
        await shop.deliver("ship")
        await shop.until("SELECT state = 'succeeded' FROM receiver.dispatch WHERE handler = 'ship'")
        assert await shop.effects() == 1
        RELEASE.set()
        await shop.until_done()
    assert await shop.effects() == 3


async def test_what_a_handler_is_given(shop: Shop) -> None:
    seen: list[Event] = []

    async def looks(event: Event, _tx: AsyncSession) -> None:
        seen.append(event)
        assert event.data

    event_id = await shop.deliver()
    stranger = await shop.deliver(source="stripe-old")
    async with shop.working(one(looks)):
        await shop.until_done()
    known = next(event for event in seen if event.id == event_id)
    assert (known.source, known.provider, known.type, known.handler, known.attempt) == (
        "stripe",
        "stripe",
        "charge.paid",
        "pay",
        1,
    )
    assert known.headers == {"webhook-id": "evt_1"}
    assert known.data == known.body.decode() == '{"amount": 12.50}'
    assert await shop.rows("SELECT event_id, reason FROM receiver.every_attempt WHERE outcome = 'retry'") == [
        (stranger, "settings")
    ]
