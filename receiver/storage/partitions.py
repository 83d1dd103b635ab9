"""Monthly partitions of `receiver.event`, made ahead of need; the default partition catches what has none."""

import datetime as dt
from contextlib import suppress
from typing import Final

import asyncpg

from receiver.storage.engine import Connection

MONTHS_AHEAD: Final = 3

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_NONE: Final = dt.timedelta()

_MISSING: Final = "SELECT to_regclass($1) IS NULL"


def first_id(moment: dt.datetime, slack: dt.timedelta = _NONE) -> str:
    """The smallest UUIDv7 of a moment: RFC 9562 puts the milliseconds since 1970 into the first 48 bits.

    Before 1970 there is none, so it is the smallest of all; what `dt.datetime` can say ends before those bits do.

    Args:
        moment: aware.
        slack: added to it; the sum may be more than `dt.datetime` can say.
    """
    digits = f"{max((moment - _EPOCH + slack) // _MILLISECOND, 0):012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"


def month(start: dt.date, ahead: int) -> dt.datetime:
    """The first moment of the month that is `ahead` months after that of `start`, in UTC."""
    index = start.year * 12 + start.month - 1 + ahead
    return dt.datetime(index // 12, index % 12 + 1, 1, tzinfo=dt.UTC)


async def ensure_partitions(connection: Connection, today: dt.date) -> list[str]:
    """Make the partitions of this month and the next three where they are missing; the names of those made.

    Safe while others do the same (an advisory lock) and while callbacks arrive (a short lock_timeout). What cannot be
    made now is left out: the default partition holds. A month of which the default partition already has rows stays
    there for good, since PostgreSQL does not move them.
    """
    made = []
    for ahead in range(MONTHS_AHEAD + 1):
        begin, end = month(today, ahead), month(today, ahead + 1)
        name = f"event_{begin:%Y_%m}"
        if await connection.fetchval(_MISSING, f"receiver.{name}"):
            with suppress(asyncpg.CheckViolationError, asyncpg.LockNotAvailableError):
                await _make(connection, name, first_id(begin), first_id(end))
                made.append(name)
    return made


async def _make(connection: Connection, name: str, begin: str, end: str) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '2s'")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('receiver.partitions'))")
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS receiver.{name} PARTITION OF receiver.event"  # all parts are our own
            f" FOR VALUES FROM ('{begin}') TO ('{end}')"
        )
