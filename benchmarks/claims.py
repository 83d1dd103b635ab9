"""What a claim costs: one statement that leases 32 due dispatches, in front of a backlog of growing length."""

import asyncio
import time
from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from benchmarks.queues import owe
from benchmarks.sql import execute
from receiver.embedded import EmbeddedServers
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
    """Measure before each of `backlogs`."""
    cases = [(f"{behind:,} rows behind them", _BEHIND, behind) for behind in backlogs]
    cases.append((f"{_LANE:,} rows of one lane before them", _IN_ONE_LANE, _LANE))
    measured = []
    for name, statement, rows in cases:
        step(f"claims: {name}")
        asyncio.run(_make(servers.database_url, statement, rows))
        times = asyncio.run(_times(servers.database_url))
        measured.append(Claims(behind=name, p50_ms=median(times), worst_ms=max(times)))
    return measured


async def _make(url: str, statement: str, rows: int) -> None:
    await execute(url, "TRUNCATE receiver.dispatch, receiver.attempt")
    await owe(url, (2 * _WARM + _TIMED) * _EACH)
    await execute(url, statement, rows)
    await execute(url, "VACUUM ANALYZE receiver.dispatch")
    await execute(url, "CHECKPOINT")


async def _times(url: str) -> list[float]:
    """Milliseconds of each claim."""
    engine = lease_engine(url)
    connection = LeaseConnection(engine, worker="benchmark", seconds=_LONG)
    try:
        warm = 0
        while warm < _WARM:
            _, count = await _claim(connection, look=_FAR)
            warm += count == _EACH
        return [await _full(connection) for _ in range(_TIMED)]
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
