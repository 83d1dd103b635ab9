"""Counts duplicates per event and writes the sums behind the answers: a figure for operators, never a decision.

The counts of the last second are lost if the process is killed.
"""

import asyncio
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.inbox.borrowed import borrowed
from receiver.inbox.faults import UNREACHABLE
from receiver.storage.arrivals import count_duplicates

log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 1.0
_ROWS_AT_ONCE: Final = 500  # a storm of duplicates must not turn into a storm of updates
_MOST_KEYS: Final = 50_000
_TIMEOUT: Final = 5.0


class Tally:
    """Sums in memory, added to `dedup_key.duplicates` once a second."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._counts: dict[bytes, int] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def add(self, key: bytes) -> None:
        """Count one duplicate of the event under `key`."""
        counts = self._counts
        if key in counts or len(counts) < _MOST_KEYS:
            counts[key] = counts.get(key, 0) + 1
        if self._timer is None:
            self._timer = self._loop.call_later(_EVERY_SECONDS, self._begin)

    async def close(self) -> None:
        """Write all that is left."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await self._writing
        while self._counts and await self._write():
            pass

    def _begin(self) -> None:
        self._timer = None
        self._writing = asyncio.create_task(self._write_and_rearm(), name="receiver-tally")

    async def _write_and_rearm(self) -> None:
        await self._write()
        if self._counts and self._timer is None:
            self._timer = self._loop.call_later(_EVERY_SECONDS, self._begin)

    async def _write(self) -> bool:
        keys = sorted(self._counts)[:_ROWS_AT_ONCE]
        part = [(key, self._counts.pop(key)) for key in keys]
        try:
            async with borrowed(self._engine) as connection:
                await count_duplicates(connection, part, _TIMEOUT)
        except UNREACHABLE as error:
            # Added back for the next second. If this statement did commit, they count twice: it is only a figure.
            for key, count in part:
                self._counts[key] = self._counts.get(key, 0) + count
            log.warning("tally_not_written", error=type(error).__name__)
            return False
        return True
