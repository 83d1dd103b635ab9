"""Handlers that write their SQL themselves: as safe as those with a session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest
from sqlalchemy import text

from receiver import RawTransaction
from receiver.errors import HandlerError
from receiver.events import Event
from receiver.handlers import Registry, RetryPolicy
from receiver.handlers.handler import RawFunction
from receiver.storage.raw import may_end
from tests.dispatch.conftest import Shop

EFFECT = "INSERT INTO effect VALUES ($1, $2, $3)"
TWICE = RetryPolicy(first=0.01, factor=1, cap=0.01, attempts=2)
KEPT: list[RawTransaction] = []


def one(function: RawFunction, timeout: float | None = None) -> Registry:
    registry = Registry()
    registry.on("stripe", name="pay", retry=TWICE, timeout=timeout, raw=True)(function)
    return registry


async def write(event: Event, tx: RawTransaction) -> None:
    assert await tx.execute(EFFECT, event.id, event.handler, "one") == "INSERT 0 1"


async def reads_in_every_way(event: Event, tx: RawTransaction) -> None:
    await tx.executemany(EFFECT, [(event.id, event.handler, "two"), (event.id, event.handler, "three")])
    row = await tx.fetchrow("SELECT count(*) AS written FROM effect")
    assert row is not None
    rows = await tx.fetch("SELECT note FROM effect ORDER BY note")
    note = f"{row['written']} {rows[0]['note']} {await tx.fetchval('SELECT max(note) FROM effect')}"
    await tx.execute("DELETE FROM effect")
    await tx.execute(EFFECT, event.id, event.handler, note)


async def undoes_a_part(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    with suppress(asyncpg.CheckViolationError):
        async with tx.savepoint():
            async with tx.savepoint():
                await tx.execute("UPDATE stock SET count = 5")
            await tx.execute("UPDATE stock SET count = -1")
    async with tx.savepoint():
        await tx.execute("UPDATE stock SET count = 7 WHERE id = 1")


async def uses_a_session_too(event: Event, tx: RawTransaction) -> None:
    session = tx.session()
    assert session is tx.session()
    await session.execute(text("INSERT INTO effect VALUES (:id, 'pay', 'by session')"), {"id": event.id})
    assert await tx.fetchval("SELECT count(*) FROM effect") == 1


async def speaks_at_once(event: Event, tx: RawTransaction) -> None:
    await asyncio.gather(*(tx.execute(EFFECT, event.id, event.handler, str(n)) for n in range(3)))
    await tx.execute("DELETE FROM effect WHERE note <> '1'")


@pytest.mark.parametrize(
    ("function", "note"),
    [
        (write, "one"),
        (reads_in_every_way, "2 three two"),
        (undoes_a_part, "one"),
        (uses_a_session_too, "by session"),
        (speaks_at_once, "1"),
    ],
)
async def test_success(shop: Shop, function: RawFunction, note: str) -> None:
    event_id = await shop.deliver()
    async with shop.working(one(function)):
        await shop.until_done()
    assert await shop.dispatch() == ("succeeded", 1, None)
    assert await shop.rows("SELECT * FROM effect") == [(event_id, "pay", note)]
    if function is undoes_a_part:
        assert await shop.rows("SELECT count FROM stock ORDER BY id") == [(7,), (10,)]


async def raises(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    raise ValueError("no")


async def goes_on(_event: Event, tx: RawTransaction) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await tx.execute("UPDATE stock SET count = -1")


async def commits(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.execute("COMMIT")


async def begins_another(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.execute("ROLLBACK; BEGIN")


async def fails_in_its_session(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.session().commit()


async def cannot_open(event: Event, tx: RawTransaction) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await tx.fetchval("SELECT 1 / $1::int", 0)
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await tx.savepoint().__aenter__()
    with pytest.raises(asyncpg.InFailedSQLTransactionError):  # and not HandlerError: none is open
        await asyncio.create_task(write(event, tx))


async def dawdles(event: Event, tx: RawTransaction) -> None:
    await write(event, tx)
    await tx.execute("SELECT pg_sleep(60)")


@pytest.mark.parametrize(
    ("function", "dispatch", "effects"),
    [
        (raises, ("dead", 2, "attempts_exhausted"), 0),
        (goes_on, ("dead", 2, "attempts_exhausted"), 0),
        (commits, ("dead", 1, "transaction_ended"), 1),
        (begins_another, ("dead", 1, "transaction_ended"), 0),
        (fails_in_its_session, ("dead", 2, "attempts_exhausted"), 0),
        (cannot_open, ("dead", 2, "attempts_exhausted"), 0),
        (dawdles, ("dead", 2, "attempts_exhausted"), 0),
    ],
)
async def test_failure(shop: Shop, function: RawFunction, dispatch: tuple[object, ...], effects: int) -> None:
    await shop.deliver()
    async with shop.working(one(function, timeout=0.5)):
        await shop.until_done()
    assert await shop.dispatch() == dispatch
    assert await shop.effects() == effects


async def keeps_it(event: Event, tx: RawTransaction) -> None:
    KEPT.append(tx)
    await write(event, tx)


async def test_what_is_kept_is_of_no_use(shop: Shop) -> None:
    await shop.deliver()
    KEPT.clear()
    async with shop.working(one(keeps_it)):
        await shop.until_done()
        for call in (KEPT[0].execute("SELECT 1"), KEPT[0].fetch("SELECT 1"), KEPT[0].savepoint().__aenter__()):
            with pytest.raises(HandlerError, match="the run is over"):
                await call
        with pytest.raises(HandlerError, match="the run is over"):
            KEPT[0].session()
    assert await shop.effects() == 1


async def writes_inside(event: Event, tx: RawTransaction, note: str) -> None:
    async with tx.savepoint():
        await tx.execute(EFFECT, event.id, event.handler, note)


@asynccontextmanager
async def another_inside(event: Event, tx: RawTransaction) -> AsyncIterator[None]:
    """Another task stands in a savepoint, which is undone at the end."""
    inside = asyncio.Event()

    async def stands() -> None:
        async with tx.savepoint():
            await tx.execute(EFFECT, event.id, event.handler, "undone")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stands())
    await inside.wait()
    yield
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def speaks_beside(event: Event, tx: RawTransaction) -> None:
    async with another_inside(event, tx):
        for refused in (
            writes_inside(event, tx, "two"),
            tx.execute(EFFECT, event.id, event.handler, "two"),
            tx.executemany(EFFECT, [(event.id, event.handler, "two")]),
            tx.fetchval("SELECT 1"),
        ):
            with pytest.raises(HandlerError, match="another task has a savepoint open"):
                await refused
        with pytest.raises(HandlerError, match="another task has a savepoint open"):
            tx.session()
    await writes_inside(event, tx, "one")


async def speaks_beside_within_another(event: Event, tx: RawTransaction) -> None:
    async with tx.savepoint():
        async with another_inside(event, tx):
            for refused in (write(event, tx), asyncio.create_task(writes_inside(event, tx, "two"))):
                with pytest.raises(HandlerError, match="another task has a savepoint open"):
                    await refused
        await asyncio.create_task(writes_inside(event, tx, "one"))


async def speaks_inside_at_once(event: Event, tx: RawTransaction) -> None:
    """What is begun inside belongs to it: it is undone with it, or stays with it."""
    with suppress(ValueError):
        async with tx.savepoint():
            await asyncio.gather(*(tx.execute(EFFECT, event.id, event.handler, str(n)) for n in range(3)))
            raise ValueError
    async with tx.savepoint():
        await asyncio.gather(write(event, tx), asyncio.wait_for(tx.fetchval("SELECT 1"), 60))


async def speaks_behind_its_end(event: Event, tx: RawTransaction) -> None:
    turn = asyncio.Event()

    async def late() -> None:
        await turn.wait()
        await write(event, tx)

    async with tx.savepoint():
        left = asyncio.create_task(late())
    turn.set()
    with pytest.raises(HandlerError, match="begun inside a savepoint that has ended"):
        await left
    await write(event, tx)


@pytest.mark.parametrize(
    "function", [speaks_beside, speaks_beside_within_another, speaks_inside_at_once, speaks_behind_its_end]
)
async def test_no_task_is_undone_by_the_savepoint_of_another(shop: Shop, function: RawFunction) -> None:
    event_id = await shop.deliver()
    async with shop.working(one(function)):
        await shop.until_done()
    assert await shop.dispatch() == ("succeeded", 1, None)
    assert await shop.rows("SELECT * FROM effect") == [(event_id, "pay", "one")]


def test_a_plain_function_cannot_be_raw() -> None:
    with pytest.raises(HandlerError, match="must be `async def` to be raw"):

        @Registry().on("stripe", raw=True)
        def pay(_event: Event, _tx: object) -> None: ...


@pytest.mark.parametrize(
    ("query", "ends"),
    [
        ("UPDATE account SET paid = paid + 1 WHERE id = $1", False),
        ("SELECT CASE WHEN paid THEN 1 END FROM account", False),
        ("INSERT INTO note VALUES ('begin; the end')", False),
        ("SAVEPOINT a", False),
        ("COMMIT", True),
        ("  commit and chain", True),
        ("SELECT 1; ROLLBACK", True),
        ("SELECT 1;/* so */ end", True),
        ("-- so\nABORT", True),
        ("PREPARE TRANSACTION 'a'", True),
        ("START TRANSACTION", True),
    ],
)
def test_what_may_end_a_transaction(query: str, *, ends: bool) -> None:
    assert may_end(query) is ends
