"""A session that Postgres ends: however that is noticed, it is called what it is."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from receiver.errors import StoreUnavailable
from receiver.inbox.faults import CUT
from receiver.storage.engine import Connection, make_engine
from receiver.storage.own import OwnConnection

SESSIONS = 40
"""asyncpg notices in several ways, depending on the moment; each was seen in a third of the sessions."""


async def ended_some_time(killer: Connection, pid: int, number: int) -> None:
    await asyncio.sleep(number * 2e-5)
    await killer.execute("SELECT pg_terminate_backend($1)", pid)


async def again_and_again(ask: Callable[[], Awaitable[object]]) -> None:
    while True:
        await ask()
        await asyncio.sleep(0)  # idle for a moment: that is when it may be told


async def test_a_session_that_ends_is_an_unavailable_store(database_url: str) -> None:
    killer = await asyncpg.connect(database_url)
    engine = make_engine(database_url, name="ended", size=1)
    for number in range(SESSIONS):
        own = await OwnConnection.open(engine)
        ending = asyncio.create_task(ended_some_time(killer, own.raw.get_server_pid(), number))
        with pytest.raises(StoreUnavailable):
            await again_and_again(lambda: own.say("SELECT 1"))  # noqa: B023  it is over before the next turn
        await ending
        await own.discard()
    await engine.dispose()
    await killer.close()


async def test_a_session_that_ends_leaves_a_flush_unknown(database_url: str) -> None:
    killer = await asyncpg.connect(database_url)
    for number in range(SESSIONS):
        connection = await asyncpg.connect(database_url)
        ending = asyncio.create_task(ended_some_time(killer, connection.get_server_pid(), number))
        with pytest.raises(CUT):
            await again_and_again(lambda: connection.fetch("SELECT 1"))  # noqa: B023
        await ending
        connection.terminate()
    await killer.close()
