"""What a server does now and then beside taking callbacks: it makes the coming months' partitions."""

import asyncio
import datetime as dt
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.storage.engine import raw_connection
from receiver.storage.partitions import ensure_partitions

log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 6 * 3600.0


async def keep_partitions(engine: AsyncEngine) -> asyncio.Task[None]:
    """Make them now, and again every six hours until the task that this returns is cancelled.

    Best effort: a role that may not make tables leaves it to `receiver migrate`; the default partition holds.
    """
    await _make(engine)
    return asyncio.create_task(_repeat(engine), name="receiver-partitions")


async def _repeat(engine: AsyncEngine) -> None:
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        await _make(engine)


async def _make(engine: AsyncEngine) -> None:
    try:
        async with engine.connect() as connection:
            await ensure_partitions(await raw_connection(connection), dt.datetime.now(dt.UTC).date())
    except Exception as error:  # noqa: BLE001  partitions are never worth a refused start
        log.warning("partitions_not_made", error=type(error).__name__)
