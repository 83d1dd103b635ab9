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
# Due after those that are claimed, each at its own instant. They have no events: no claim comes so far.
_BEHIND = """
INSERT INTO receiver.dispatch (event_id, handler, due_at)
SELECT uuidv7(), 'mark_paid_raw', clock_timestamp() FROM generate_series(1, $1::int)
"""


class Claims(msgspec.Struct):
    """One length of the backlog."""

    behind: int
    """Due rows behind those that are claimed."""
    p50_ms: float
    worst_ms: float


def measure(servers: EmbeddedServers, *, backlogs: Sequence[int], step: Callable[[str], None]) -> list[Claims]:
    """Measure before each of `backlogs`."""
    measured = []
    for behind in backlogs:
        step(f"claims before {behind:,} due rows")
        asyncio.run(_make(servers.database_url, behind))
        times = asyncio.run(_times(servers.database_url))
        measured.append(Claims(behind=behind, p50_ms=median(times), worst_ms=max(times)))
    return measured


async def _make(url: str, behind: int) -> None:
    await execute(url, "TRUNCATE receiver.dispatch, receiver.attempt")
    await owe(url, (_WARM + _TIMED) * _EACH)
    await execute(url, _BEHIND, behind)
    await execute(url, "VACUUM ANALYZE receiver.dispatch")
    await execute(url, "CHECKPOINT")


async def _times(url: str) -> list[float]:
    """Milliseconds of each claim."""
    engine = lease_engine(url)
    connection = LeaseConnection(engine, worker="benchmark", seconds=_LONG)
    try:
        for _ in range(_WARM):
            await _claim(connection)
        return [await _claim(connection) for _ in range(_TIMED)]
    finally:
        await connection.close()
        await engine.dispose()


async def _claim(connection: LeaseConnection) -> float:
    """The one place that knows how to lease."""
    begun = time.perf_counter()
    claim = await connection.lease({"mark_paid_raw": Ask(_EACH, _EACH)})
    elapsed = time.perf_counter() - begun
    if len(claim.leases) != _EACH:
        raise RuntimeError(f"{len(claim.leases)} of {_EACH} due dispatches were leased")
    return elapsed * 1000
