"""The way into quarantine: rare, so one row, one commit."""

import asyncio

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

    async def keep(self, odd: Odd, seconds: float) -> None:
        """Store and commit. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(seconds), borrowed(self._engine) as connection:
                await quarantine.keep(connection, odd, seconds)
        except UNREACHABLE as error:
            log.warning("quarantine_failed", error=type(error).__name__)
            raise StoreUnavailable("Postgres did not keep it") from error
        log.warning("callback_quarantined", source=odd.source, reason=odd.reason)
