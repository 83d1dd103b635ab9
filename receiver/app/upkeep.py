"""What a server does now and then beside its requests: it makes partitions ahead, and removes keys that are over."""

import asyncio
import datetime as dt
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.errors import StoreUnavailable
from receiver.storage.engine import raw_connection
from receiver.storage.keyed import KeyStore
from receiver.storage.partitions import ensure_partitions

log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 6 * 3600.0
_KEYS_EVERY_SECONDS: Final = 60.0
_KEYS_AT_ONCE: Final = 20_000
"""Keys that are removed at a time: more in a minute than requests come in one."""


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


def keep_keys(store: KeyStore, seconds: float = _KEYS_EVERY_SECONDS) -> asyncio.Task[None]:
    """Remove `Idempotency-Key`s whose retention is over, again and again until the task that this returns is cancelled.

    A key that is over counts as none whether or not its row is there.
    """
    return asyncio.create_task(_remove(store, seconds), name="receiver-keys")


async def _remove(store: KeyStore, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await store.remove_expired(most=_KEYS_AT_ONCE)
        except StoreUnavailable as error:
            log.warning("keys_not_removed", error=str(error))
