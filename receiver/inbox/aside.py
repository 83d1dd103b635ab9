"""The way into quarantine: rare, so each row has a commit of its own."""

import asyncio
from collections.abc import Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.errors import StoreUnavailable
from receiver.inbox.borrowed import borrowed
from receiver.inbox.faults import UNREACHABLE
from receiver.storage import quarantine
from receiver.storage.quarantine import Odd

log = structlog.get_logger(__name__)


class Aside:
    """Keeps genuine callbacks that must not run."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def keep(self, odds: Sequence[Odd], seconds: float) -> None:
        """Store and commit all of them. Raises StoreUnavailable: some may be kept, and will be counted once more."""
        try:
            async with asyncio.timeout(seconds), borrowed(self._engine) as connection:
                for odd in odds:
                    await quarantine.keep(connection, odd, seconds)
        except UNREACHABLE as error:
            log.warning("quarantine_failed", error=type(error).__name__)
            raise StoreUnavailable("Postgres did not keep it") from error
        for odd in odds:
            log.warning("callback_quarantined", source=odd.source, reason=odd.reason)
