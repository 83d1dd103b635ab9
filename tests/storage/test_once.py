"""A key is taken once, by the transaction that commits it; whatever else is tried at the same time."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text as sql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from receiver.errors import OnceError
from receiver.storage.engine import Connection, async_url
from receiver.storage.once import once, once_for_event, once_sync
from receiver.storage.raw import RawTransaction
from tests.faults.relay import Relay

SECONDS = 30.0
SCOPE = "refunds"
FIRST, SECOND = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(async_url(database_url))
    yield made
    await made.dispose()


@pytest.fixture
async def tx(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine) as session:
        yield session


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    made = await asyncpg.connect(database_url)
    yield made
    await made.close()


async def keys(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(sql("SELECT count(*) FROM receiver.once_key"))).scalar_one())


async def taken(engine: AsyncEngine, key: str = "r_1") -> bool:
    """In a transaction of its own, which commits."""
    async with AsyncSession(engine) as session, session.begin():
        return await once(session, SCOPE, key)


async def until_waiting(engine: AsyncEngine) -> None:
    """Wait until a session waits for another one's lock."""
    async with engine.connect() as connection, asyncio.timeout(SECONDS):
        while not (await connection.execute(sql("SELECT count(*) FROM pg_locks WHERE NOT granted"))).scalar_one():
            await connection.rollback()


async def in_a_session(engine: AsyncEngine) -> list[bool]:
    async with AsyncSession(engine) as session, session.begin():
        return [await once(session, SCOPE, "r_1"), await once(session, SCOPE, "r_1")]


async def in_a_plain_session(engine: AsyncEngine) -> list[bool]:
    def run(session: Session) -> list[bool]:
        return [once_sync(session, SCOPE, "r_1"), once_sync(session, SCOPE, "r_1")]

    async with AsyncSession(engine) as session, session.begin():
        return await session.run_sync(run)


async def in_a_raw_transaction(engine: AsyncEngine) -> list[bool]:
    async with engine.connect() as connection, connection.begin():
        await connection.execute(sql("SELECT 1"))
        driver: Any = (await connection.get_raw_connection()).driver_connection
        raw = RawTransaction(driver, asyncio.Lock(), lambda: AsyncSession(connection))
        return [await once(raw, SCOPE, "r_1"), await once(raw, SCOPE, "r_1")]


WAYS = (in_a_session, in_a_plain_session, in_a_raw_transaction)


@pytest.mark.parametrize("way", WAYS)
async def test_only_the_first_time_is_true(engine: AsyncEngine, way: Callable[..., Awaitable[list[bool]]]) -> None:
    assert await way(engine) == [True, False]
    assert not await taken(engine)
    assert await keys(engine) == 1


async def test_scope_and_key_cannot_be_mixed_up(engine: AsyncEngine, tx: AsyncSession) -> None:
    pairs = [("a", "bc"), ("ab", "c"), ("b", "ac"), ("a", "bc\0"), ("é", "bc"), ("e\u0301", "bc"), ("a", "x" * 100_000)]
    assert [await once(tx, *pair) for pair in pairs] == [True] * len(pairs)
    await tx.commit()
    assert await keys(engine) == len(pairs)


async def test_what_is_rolled_back_was_never_taken(engine: AsyncEngine, tx: AsyncSession) -> None:
    assert await once(tx, SCOPE, "r_1")
    await tx.rollback()
    async with tx.begin():
        savepoint = await tx.begin_nested()
        assert await once(tx, SCOPE, "r_1")
        await savepoint.rollback()
        assert await once(tx, SCOPE, "r_1")
    assert not await taken(engine)


@pytest.mark.parametrize("commits", [True, False])
async def test_of_two_at_once_the_second_waits_for_the_first(
    engine: AsyncEngine, tx: AsyncSession, commits: bool
) -> None:
    assert await once(tx, SCOPE, "r_1")
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        task = group.create_task(taken(engine))
        await until_waiting(engine)
        await (tx.commit() if commits else tx.rollback())
    assert task.result() is not commits
    assert await keys(engine) == 1


async def test_lock_timeout_bounds_the_wait(engine: AsyncEngine, tx: AsyncSession) -> None:
    assert await once(tx, SCOPE, "r_1")
    async with AsyncSession(engine) as other:
        await other.execute(sql("SET LOCAL lock_timeout = '20ms'"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            await once(other, SCOPE, "r_1")


async def test_a_storm_has_one_winner(engine: AsyncEngine) -> None:
    async with asyncio.timeout(SECONDS):
        assert sum(await asyncio.gather(*(taken(engine) for _ in range(30)))) == 1


async def test_a_commit_whose_reply_was_lost_is_recognised(engine: AsyncEngine, database_url: str) -> None:
    async with Relay(database_url) as relay:
        far = create_async_engine(async_url(relay.url), connect_args={"ssl": False})
        async with AsyncSession(far) as session:
            assert await once(session, SCOPE, "r_1")
            relay.losing = True
            committing = asyncio.create_task(session.commit())
            async with asyncio.timeout(SECONDS):
                while not await keys(engine):
                    pass
            relay.cut()
            with pytest.raises((DBAPIError, OSError)):
                await committing
        await far.dispose()
    assert not await taken(engine)


async def test_a_stricter_transaction_is_told_to_begin_again(engine: AsyncEngine, tx: AsyncSession) -> None:
    await tx.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    await tx.execute(sql("SELECT 1"))
    assert await taken(engine)
    with pytest.raises(DBAPIError) as caught:
        await once(tx, SCOPE, "r_1")
    assert getattr(caught.value.orig, "sqlstate", None) == "40001"


@pytest.mark.parametrize(
    ("scope", "key", "reason"),
    [
        ("", "k", "once_scope"),
        ("s" * 201, "k", "once_scope"),
        ("s\0", "k", "once_scope"),
        (None, "k", "once_scope"),
        ("s", "", "once_key"),
        ("s", 1, "once_key"),
        ("s", b"k", "once_key"),
        ("s", "\ud800", "once_text"),
        ("\ud800", "k", "once_text"),
    ],
)
async def test_what_cannot_be_stored_is_refused(
    engine: AsyncEngine, tx: AsyncSession, scope: Any, key: Any, reason: str
) -> None:
    assert await once(tx, SCOPE, "r_1")
    with pytest.raises(OnceError) as caught:
        await once(tx, scope, key)
    assert caught.value.reason == reason
    await tx.commit()
    assert await keys(engine) == 1


async def test_each_kind_of_session_has_its_function(tx: AsyncSession) -> None:
    wrong: Any = tx
    plain: Any = tx.sync_session
    with pytest.raises(OnceError, match="once_sync") as caught:
        await once(plain, SCOPE, "r_1")
    assert caught.value.reason == "once_session"
    with pytest.raises(OnceError, match="await once") as caught:
        once_sync(wrong, SCOPE, "r_1")
    assert caught.value.reason == "once_session"


async def for_event(connection: Connection, event_id: uuid.UUID) -> bool | None:
    return await once_for_event(connection, SCOPE, "r_1", event_id)


async def test_an_event_may_do_again_what_it_did(connection: Connection) -> None:
    assert [await for_event(connection, each) for each in (FIRST, SECOND, FIRST)] == [True, False, True]


async def test_a_key_of_ones_own_is_taken_for_every_event(engine: AsyncEngine, connection: Connection) -> None:
    assert await taken(engine)
    assert await for_event(connection, FIRST) is False


@pytest.mark.parametrize("commits", [True, False])
async def test_no_event_waits_for_another(connection: Connection, database_url: str, commits: bool) -> None:
    other = await asyncpg.connect(database_url)
    first = other.transaction()
    await first.start()
    assert await for_event(other, FIRST)
    assert await for_event(connection, SECOND) is None
    await (first.commit() if commits else first.rollback())
    assert await for_event(connection, SECOND) is not commits
    await other.close()
