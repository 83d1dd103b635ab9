"""What a claim costs: one statement that leases 32 due dispatches, in front of a backlog of growing length.

Each backlog has a database of its own, and the claims are made in turn: a slow moment of the machine hits all alike.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median

import msgspec
from sqlalchemy.engine import make_url

from benchmarks.queues import owe
from benchmarks.sql import execute
from receiver.embedded import EmbeddedServers
from receiver.storage import migrate
from receiver.storage.leases import Ask, LeaseConnection, lease_engine

_EACH = 32
_WARM = 10
_TIMED = 100
_LONG = 3600.0
"""Seconds that a lease lasts: nothing falls due again meanwhile."""
_FAR = 1_024
"""What a worker looks at once it has seen that most of what is due must wait."""
_LANE = 10_000
_IN_ONE_LANE = """
INSERT INTO receiver.dispatch (event_id, handler, due_at, lane, lane_at)
SELECT uuidv7(), 'mark_paid_raw', now() - n * interval '1 ms', 1, now() - n * interval '1 ms'
FROM generate_series(1, $1::int) n
"""
"""Due before all others: the first claims have to get past them, and park all but one."""
# Due after those that are claimed, each at its own instant. They have no events: no claim comes so far.
_BEHIND = """
INSERT INTO receiver.dispatch (event_id, handler, due_at)
SELECT uuidv7(), 'mark_paid_raw', clock_timestamp() FROM generate_series(1, $1::int)
"""


class Claims(msgspec.Struct):
    """One backlog."""

    behind: str
    """What is due beside those that are claimed."""
    p50_ms: float
    worst_ms: float


def measure(servers: EmbeddedServers, *, backlogs: Sequence[int], step: Callable[[str], None]) -> list[Claims]:
    """Measure before each of `backlogs`, and before one lane."""
    cases = [(f"{behind:,} rows behind them", _BEHIND, behind) for behind in backlogs]
    cases.append((f"{_LANE:,} rows of one lane before them", _IN_ONE_LANE, _LANE))
    urls = []
    for number, (name, statement, rows) in enumerate(cases):
        step(f"claims: {name}")
        urls.append(asyncio.run(_database(servers.database_url, f"claims_{number}")))
        migrate.upgrade(urls[-1])
        asyncio.run(_fill(urls[-1], statement, rows))
    step("claims, in turn")
    times = asyncio.run(_times(urls))
    return [
        Claims(behind=name, p50_ms=median(mine), worst_ms=max(mine))
        for (name, _, _), mine in zip(cases, times, strict=True)
    ]


async def _database(url: str, name: str) -> str:
    """The URL of a new database beside that of `url`."""
    await execute(url, f"CREATE DATABASE {name}")
    return make_url(url).set(database=name).render_as_string(hide_password=False)


async def _fill(url: str, statement: str, rows: int) -> None:
    await owe(url, (2 * _WARM + _TIMED) * _EACH)
    await execute(url, statement, rows)
    await execute(url, "VACUUM ANALYZE receiver.dispatch")
    await execute(url, "CHECKPOINT")


async def _times(urls: Sequence[str]) -> list[list[float]]:
    """Milliseconds of each claim, for each database."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(_warm(url)) for url in urls]
        rounds = [[await _full(connection) for connection in connections] for _ in range(_TIMED)]
    return [list(times) for times in zip(*rounds, strict=True)]


@asynccontextmanager
async def _warm(url: str) -> AsyncIterator[LeaseConnection]:
    """What leases, once it gets all that it asks for."""
    engine = lease_engine(url)
    connection = LeaseConnection(engine, worker="benchmark", seconds=_LONG)
    try:
        warm = 0
        while warm < _WARM:
            _, count = await _claim(connection, look=_FAR)
            warm += count == _EACH
        yield connection
    finally:
        await connection.close()
        await engine.dispose()


async def _full(connection: LeaseConnection) -> float:
    elapsed, count = await _claim(connection, look=_EACH)
    if count != _EACH:
        raise RuntimeError(f"{count} of {_EACH} due dispatches were leased")
    return elapsed


async def _claim(connection: LeaseConnection, *, look: int) -> tuple[float, int]:
    """The one place that knows how to lease: milliseconds, and how many it got."""
    begun = time.perf_counter()
    claim = await connection.lease({"mark_paid_raw": Ask(_EACH, look)})
    return (time.perf_counter() - begun) * 1000, len(claim.leases)
