"""Handlers that write their SQL themselves: as safe as those with a session."""

import asyncio
from contextlib import suppress

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
