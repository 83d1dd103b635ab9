"""Rows given to the inbox itself, for what no provider of ours sends: several facts at once, rows that cannot be."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from msgspec.structs import replace

from receiver.errors import ReceiverError
from receiver.inbox import Inbox, Outcome
from receiver.inbox.key import dedup_key
from receiver.storage.arrivals import Arrival

Result = Outcome | ReceiverError
BLOCKED = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE application_name = 'receiver-ingress' AND wait_event_type = 'Lock' AND datname = current_database()
"""
"""A flush waits for a lock."""


def arrival(name: str, fingerprint: bytes = b"f" * 16, *handlers: str, **changes: object) -> Arrival:
    """A row as ingress makes it."""
    row = Arrival(
        key=dedup_key("batch", name, 0),
        event_id=uuid.uuid4(),
        fingerprint=fingerprint,
        source="batch",
        provider="stripe",
        external_id=name,
        type="a.b",
        entity_id=None,
        livemode=None,
        occurred_at=dt.datetime.now(dt.UTC),
        headers={},
        body=b"{}",
        owed=tuple((name, None) for name in handlers),
    )
    return replace(row, **changes)


def submitted(inbox: Inbox, rows: Sequence[Arrival], seconds: float = 4.0) -> asyncio.Future[Result]:
    """Hand over the facts of one callback; the future hears what they came to."""
    heard: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    inbox.submit(rows, seconds, heard.set_result)
    return heard


async def submit(inbox: Inbox, rows: Sequence[Arrival], seconds: float = 4.0) -> Result:
    """The same, and wait for it."""
    return await submitted(inbox, rows, seconds)


@asynccontextmanager
async def locked(database_url: str, table: str = "dedup_key") -> AsyncIterator[None]:
    """While it lasts nothing can be written to a table of ours: a flush that began stays in flight."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE receiver.{table} IN EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()
