"""A row holds the latest state, whatever the order, and however many write it at once."""

import asyncio
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, DateTime, ForeignKey, Integer, MetaData, Table, Text, TypeDecorator, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from receiver import update_if_newer, update_if_newer_sync
from receiver.errors import UpdateError
from receiver.storage.engine import async_url
from receiver.storage.newer import Model

START = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
KEY = {"id": "pi_1"}
SECONDS = 30.0


class Moment(TypeDecorator[dt.datetime]):
    """A type of the user's own."""

    impl = DateTime(timezone=True)
    cache_ok = True


class Base(DeclarativeBase):
    pass


class Payment(Base):
    __tablename__ = "payment"
    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column("status")
    note: Mapped[str | None]
    updated: Mapped[dt.datetime | None] = mapped_column("last_updated", DateTime(timezone=True))
    naive: Mapped[dt.datetime | None]
    day: Mapped[dt.date | None]


class Special(Payment):
    __tablename__ = "special"
    id: Mapped[str] = mapped_column(ForeignKey("payment.id"), primary_key=True)
    moment: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))


ranked = Table(
    "ranked",
    MetaData(),
    Column("source", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("state", Text),
    Column("last_updated_at", Moment),
    Column("last_updated_rank", Integer),
    UniqueConstraint("source", "id"),
)


def second(number: int) -> dt.datetime:
    return START + dt.timedelta(seconds=number)


@pytest.fixture
async def engine(empty_database_url: str) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(async_url(empty_database_url))
    async with made.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.run_sync(ranked.metadata.create_all)
    yield made
    await made.dispose()


@pytest.fixture
async def tx(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine) as session:
        yield session


async def write(tx: AsyncSession, number: int, state: str | None = None) -> bool:
    return await update_if_newer(tx, Payment, KEY, {"state": state or str(number)}, at=second(number), column="updated")


async def write_ranked(tx: AsyncSession, number: int, rank: int, source: str = "stripe") -> bool:
    values = {"state": f"{number}.{rank}"}
    return await update_if_newer(tx, ranked, {"source": source, **KEY}, values, at=second(number), rank=rank)


async def row(tx: AsyncSession) -> tuple[object, ...]:
    return tuple((await tx.execute(sql("SELECT status, last_updated FROM payment"))).one())


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
async def test_the_latest_stands_in_every_order(tx: AsyncSession, order: tuple[int, ...]) -> None:
    written = [await write(tx, number) for number in order]
    assert written == [number == max(order[: place + 1]) for place, number in enumerate(order)]
    assert await row(tx) == ("3", second(3))


async def test_of_equal_times_what_stands_stays(tx: AsyncSession) -> None:
    assert await write(tx, 1, "first")
    assert not await write(tx, 1, "second")
    assert await row(tx) == ("first", second(1))


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_of_equal_times_the_higher_rank_wins_in_either_order(tx: AsyncSession, order: tuple[int, int]) -> None:
    for rank in order:
        await write_ranked(tx, 1, rank)
    assert not await write_ranked(tx, 1, 2)
    assert not await write_ranked(tx, 0, 3)
    assert await tx.scalar(sql("SELECT state FROM ranked")) == "1.2"


events = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=events.flatmap(st.permutations), again=st.integers(0, 5))
async def test_any_order_and_any_repetition_end_alike(
    tx: AsyncSession, order: list[tuple[int, int]], again: int
) -> None:
    await tx.execute(sql("DELETE FROM ranked"))
    for number, rank in [*order, order[again % len(order)]]:
        await write_ranked(tx, number, rank)
    stands = (await tx.execute(sql("SELECT state, last_updated_at, last_updated_rank FROM ranked"))).one()
    number, rank = max(order)
    assert tuple(stands) == (f"{number}.{rank}", second(number), rank)


async def test_a_row_without_a_time_or_rank_is_older_than_any(tx: AsyncSession) -> None:
    await tx.execute(sql("INSERT INTO payment (id, status, note) VALUES ('pi_1', 'new', 'kept')"))
    assert await write(tx, -(10**9))
    assert await tx.scalar(sql("SELECT note FROM payment")) == "kept"
    await tx.execute(ranked.insert().values(source="stripe", id="pi_1", last_updated_at=second(1)))
    assert await write_ranked(tx, 1, -5)


async def test_a_key_is_all_its_columns(tx: AsyncSession) -> None:
    assert await write_ranked(tx, 2, 0)
    assert await write_ranked(tx, 1, 0, source="stripe-eu")
    assert await tx.scalar(sql("SELECT count(*) FROM ranked")) == 2


async def test_what_is_pending_in_the_session_comes_first(tx: AsyncSession) -> None:
    tx.add(Payment(id="pi_1", state="new"))
    assert await write(tx, 1)
    await tx.commit()
    assert await row(tx) == ("1", second(1))


async def test_plain_sessions_do_the_same(tx: AsyncSession) -> None:
    def run(session: Session) -> list[bool]:
        return [
            update_if_newer_sync(session, Payment, KEY, {"state": str(n)}, at=second(n), column="updated")
            for n in (1, 3, 2)
        ]

    assert await tx.run_sync(run) == [True, True, False]
    assert await row(tx) == ("3", second(3))


async def until_waiting(engine: AsyncEngine) -> None:
    """Wait until a session waits for another one's lock."""
    waiting = sql("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with engine.connect() as connection, asyncio.timeout(SECONDS):
        while not (await connection.execute(waiting)).scalar_one():
            await connection.rollback()


@pytest.mark.parametrize("there_is_a_row", [True, False])
@pytest.mark.parametrize(("mine", "theirs"), [(2, 1), (1, 2), (1, 1)])
async def test_of_two_at_once_the_later_event_wins(
    engine: AsyncEngine, tx: AsyncSession, mine: int, theirs: int, there_is_a_row: bool
) -> None:
    if there_is_a_row:
        await write(tx, 0)
        await tx.commit()
    assert await write(tx, mine, f"mine {mine}")

    async def other() -> bool:
        async with AsyncSession(engine) as session, session.begin():
            return await write(session, theirs, f"theirs {theirs}")

    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        task = group.create_task(other())
        await until_waiting(engine)  # it has begun, on the row as it was before our commit
        await tx.commit()
    assert task.result() is (theirs > mine)
    assert await row(tx) == ((f"theirs {theirs}", second(2)) if theirs > mine else (f"mine {mine}", second(mine)))


async def test_a_storm_ends_at_the_latest(engine: AsyncEngine, tx: AsyncSession) -> None:
    async def one(number: int) -> None:
        async with AsyncSession(engine) as session, session.begin():
            await write(session, number)

    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(one(number * 7 % 40))
    assert await row(tx) == ("39", second(39))


NEW: Mapping[str, object] = {"state": "x"}
AT: Mapping[str, object] = {"at": START, "column": "updated"}


@pytest.mark.parametrize(
    ("model", "key", "values", "named", "reason"),
    [
        (Payment, KEY, NEW, {**AT, "at": None}, "update_time_missing"),
        (Payment, KEY, NEW, {**AT, "at": START.isoformat()}, "update_time_type"),
        (Payment, KEY, NEW, {**AT, "at": START.timestamp()}, "update_time_type"),
        (Payment, KEY, NEW, {**AT, "at": START.date()}, "update_time_type"),
        (Payment, KEY, NEW, {**AT, "at": START.replace(tzinfo=None)}, "update_time_naive"),
        (Payment, KEY, NEW, {"at": START}, "update_time_column"),
        (Payment, KEY, NEW, {"at": START, "column": "last_updated"}, "update_time_column"),
        (Payment, KEY, NEW, {"at": START, "column": "naive"}, "update_time_column"),
        (Payment, KEY, NEW, {"at": START, "column": "day"}, "update_time_column"),
        (Payment, KEY, {"status": "x"}, AT, "update_column_unknown"),
        (Payment, {"payment": 1}, NEW, AT, "update_column_unknown"),
        (Special, KEY, NEW, {**AT, "column": "moment"}, "update_column_unknown"),
        (Payment, KEY, {"id": "pi_2"}, AT, "update_column_twice"),
        (Payment, KEY, {"updated": START, "state": "x"}, AT, "update_column_twice"),
        (Payment, {}, NEW, AT, "update_key_missing"),
        (Payment, {"id": None}, NEW, AT, "update_key_missing"),
        (Payment, {"id": "pi_1", "note": "x"}, NEW, AT, "update_key_not_unique"),
        (Payment, {"note": "x"}, {"id": "pi_1", "state": "x"}, AT, "update_key_not_unique"),
        (Payment, KEY, NEW, {**AT, "rank": 1}, "update_rank"),
        (ranked, {"source": "s", "id": "i"}, NEW, {"at": START}, "update_rank"),
        (ranked, {"source": "s", "id": "i"}, NEW, {"at": START, "rank": 1.5}, "update_rank"),
        (ranked, {"source": "s", "id": "i"}, NEW, {"at": START, "rank": True}, "update_rank"),
        (ranked, {"source": "s", "id": "i"}, NEW, {"at": START, "rank": "1"}, "update_rank"),
    ],
)
async def test_what_cannot_work_is_refused(  # noqa: PLR0917
    tx: AsyncSession,
    model: Model,
    key: Mapping[str, object],
    values: Mapping[str, object],
    named: Any,
    reason: str,
) -> None:
    with pytest.raises(UpdateError) as caught:
        await update_if_newer(tx, model, key, values, **named)
    assert caught.value.reason == reason
    await tx.rollback()
    assert await tx.scalar(sql("SELECT count(*) FROM payment")) == 0


async def test_other_errors_of_the_database_are_not_ours(tx: AsyncSession) -> None:
    with pytest.raises(Exception, match="null value in column"):
        await update_if_newer(tx, Payment, KEY, {}, at=START, column="updated")
