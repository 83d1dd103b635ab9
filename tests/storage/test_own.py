"""A session that Postgres ends: however that is noticed, it is called what it is."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.errors import StoreUnavailable
from receiver.inbox.faults import CUT
from receiver.storage.engine import Connection, make_engine
from receiver.storage.own import OwnConnection
from tests.faults.relay import Relay
from tests.ingress.ledger import until

SESSIONS = 40
"""asyncpg notices in several ways, depending on the moment; each was seen in a third of the sessions."""


FEWEST_REPLIES = 4
"""Of those that opening takes: to who comes, to the password, to the first question and to the second."""
GONE = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'deaf' AND datname = current_database()"


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


async def opens(engine: AsyncEngine) -> bool:
    """Whether a connection can be opened; it is closed again."""
    try:
        own = await OwnConnection.open(engine)
    except StoreUnavailable:
        return False
    await own.discard()
    return True


async def survives_loss(database_url: str, heard: int, patch: pytest.MonkeyPatch, *, first: bool = False) -> bool:
    """Whether a connection opens that loses all replies but so many; after that another one must, at once.

    Args:
        database_url: of the server.
        heard: replies that it gets.
        patch: makes it impatient.
        first: of its engine, of which more is asked.
    """
    watcher = await asyncpg.connect(database_url)

    async def gone() -> bool:
        return bool(await watcher.fetchval(GONE))

    async with Relay(database_url) as relay, asyncio.timeout(10):
        engine = make_engine(relay.url, name="deaf", size=1)
        assert first or await opens(engine)
        relay.losing_after = heard
        with patch.context() as impatient:
            impatient.setattr("receiver.storage.own.OPEN_SECONDS", 0.3)
            opened = await opens(engine)
        relay.losing, relay.losing_after = False, None
        assert await opens(engine)
        await engine.dispose()
        assert await until(gone)
    await watcher.close()
    return opened


async def test_an_open_that_loses_replies_is_given_up(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From whichever reply on; its place in the pool is free, and no session stays."""
    assert not await survives_loss(database_url, 2 * FEWEST_REPLIES, monkeypatch, first=True)
    heard = 0
    while not await survives_loss(database_url, heard, monkeypatch):
        heard += 1
    assert heard >= FEWEST_REPLIES
