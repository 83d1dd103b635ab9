"""Handlers that go past their session, to SQLAlchemy's connection or the driver, while a commit is owed or refused."""

import asyncio
import gc
import io
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from receiver.events import Event
from receiver.storage.engine import Connection, raw_connection
from tests.dispatch.conftest import Shop
from tests.dispatch.test_carried import (
    DEAD,
    EFFECT,
    REFUSED,
    SUCCEEDED,
    Lent,
    Odd,
    Row,
    ask,
    by_raw_and_session,
    is_refused,
    ran_though_taken_over,
    write,
)

SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.15); RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.note = 'slow') EXECUTE FUNCTION slow();
"""
INTERRUPTED = "SELECT count(*) FROM receiver.attempt WHERE reason = 'commit_interrupted'"


@pytest.fixture(autouse=True)
async def _no_complaints() -> AsyncIterator[None]:
    """Nothing fails that nobody waits for."""
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    yield
    gc.collect()
    await asyncio.sleep(0)
    # asyncpg leaves one behind where a connection is cut in a COPY, however it is cut.
    assert [one for one in told if not isinstance(one.get("exception"), asyncpg.ConnectionDoesNotExistError)] == []


async def driver_of(tx: Lent) -> Connection:
    assert isinstance(tx, AsyncSession)
    return await raw_connection(await tx.connection())


async def is_slow_to_commit(event: Event, tx: Lent) -> None:
    await write(event, tx, "slow")


async def writes_by_the_driver(event: Event, tx: Lent) -> None:
    await (await driver_of(tx)).execute(EFFECT, event.id, event.handler, "")


async def writes_several_statements(event: Event, tx: Lent) -> None:
    await (await driver_of(tx)).execute(f"SELECT 1; INSERT INTO effect VALUES ('{event.id}', 'pay')")


async def copies(event: Event, tx: Lent) -> None:
    lines = f"{event.id},pay,\n".encode()
    await (await driver_of(tx)).copy_to_table("effect", source=io.BytesIO(lines), format="csv")


async def copies_out(event: Event, tx: Lent) -> None:
    await (await driver_of(tx)).copy_from_query("SELECT 1", output=io.BytesIO())
    await write(event, tx)


def after(seconds: float, odd: Odd) -> Odd:
    async def waits(event: Event, tx: Lent) -> None:
        await driver_of(tx)
        await asyncio.sleep(seconds)
        await odd(event, tx)

    return waits


WAYS = [writes_by_the_driver, writes_several_statements, copies, copies_out]


@pytest.mark.parametrize("seconds", [None, 0, 0.02])
@pytest.mark.parametrize("odd", WAYS)
async def test_the_commit_before_it_is_slow(shop: Shop, odd: Odd, seconds: float | None) -> None:
    """Whatever it asks, at once or while the commit is being sent, waits behind it."""
    await shop.execute(SLOW)
    second = odd if seconds is None else after(seconds, odd)
    row = Row(shop, is_slow_to_commit, second, second, write, raw=False)
    await row.run()
    assert await row.came_to() == [SUCCEEDED] * 4
    assert row.called == [0, 1, 2, 3]


@pytest.mark.parametrize("odd", [*WAYS, after(0, writes_several_statements)])
async def test_the_commit_before_it_is_refused(shop: Shop, odd: Odd) -> None:
    await shop.execute(REFUSED)
    row = Row(shop, is_refused, odd, write, raw=False)
    await row.run()
    assert await row.came_to() == [DEAD, SUCCEEDED, SUCCEEDED]
    assert row.called == [0, 1, 1, 2]


async def rolls_back_and_goes_on(event: Event, tx: Lent) -> None:
    session = tx if isinstance(tx, AsyncSession) else tx.session()
    connection = await session.connection()
    try:
        await connection.exec_driver_sql("SELECT 1")
    except DBAPIError:
        await connection.rollback()
    await connection.exec_driver_sql(EFFECT, (event.id, event.handler, ""))


async def does_so_and_fails(event: Event, tx: Lent) -> None:
    await rolls_back_and_goes_on(event, tx)
    raise ValueError


@by_raw_and_session
@pytest.mark.parametrize(("odd", "outcome"), [(rolls_back_and_goes_on, SUCCEEDED), (does_so_and_fails, DEAD)])
async def test_sqlalchemy_takes_no_other_connection(
    shop: Shop, odd: Odd, outcome: tuple[object, ...], raw: bool
) -> None:
    """What it would commit on one stands in no run."""
    await shop.execute(REFUSED)
    row = Row(shop, is_refused, odd, raw=raw)
    await row.run()
    assert await row.came_to() == [DEAD, outcome]


async def test_nor_after_the_session_was_ended_in_the_run(shop: Shop) -> None:
    async def loses_its_connection(event: Event, tx: Lent) -> None:
        assert isinstance(tx, AsyncSession)
        connection = await tx.connection()
        with suppress(DBAPIError):
            await connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        await connection.rollback()
        await connection.exec_driver_sql(EFFECT, (event.id, event.handler, ""))

    row = Row(shop, loses_its_connection, write, raw=False)
    await row.run()
    assert await row.came_to() == [DEAD, SUCCEEDED]


async def test_nor_if_the_run_was_taken_over(shop: Shop) -> None:
    row = await ran_though_taken_over(shop, rolls_back_and_goes_on, raw=False)
    assert await row.came_to() == [SUCCEEDED] * 2


async def is_impatient(event: Event, tx: Lent) -> None:
    async with asyncio.timeout(0.08):
        await ask(tx, "SELECT $1::int", 1)
    await write(event, tx, "slow")


@by_raw_and_session
async def test_one_commit_is_interrupted_and_no_more(shop: Shop, raw: bool) -> None:
    """Who has less patience than the commit before it takes is not called again while one is owed."""
    await shop.execute(SLOW)
    row = Row(shop, *[is_impatient] * 8, raw=raw)
    await row.run()
    assert await row.came_to() == [SUCCEEDED] * 8
    assert await shop.value(INTERRUPTED) == 1
