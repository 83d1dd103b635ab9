"""Which keys have verified events of late, and how many: read from the events themselves, from the newest backwards."""

import datetime as dt
from typing import Final

import msgspec

from receiver.storage.engine import Connection
from receiver.storage.partitions import first_id

# By the primary key from its newest end, so that what is read is `$2` rows at most and never a whole table; it stops
# there or at `$1`, whichever comes first. An index by source and key would answer for all time, but each callback would
# pay for it. Ids begin with their time, and rows lie in nearly that order: to look at a million of them, of 1 kB, took
# one to two seconds and the same 129,000 pages in a table of one million rows as in one of four.
_USES: Final = """
SELECT source, secret AS key, max(received_at) AS last_used, min(received_at) AS first_used, count(*) AS events,
       count(*) FILTER (WHERE received_at > now() - interval '1 day') AS last_day
FROM (SELECT source, secret, received_at FROM receiver.event WHERE id >= $1 ORDER BY id DESC LIMIT $2) AS looked_at
GROUP BY source, secret ORDER BY source, secret
"""


class KeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """What one key of one source has verified."""

    source: str
    key: str
    """As it was called when the event was stored."""
    last_used: dt.datetime
    """When the newest of its events was stored."""
    last_day: int
    """Events in the last 24 hours."""


class KeyUses(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen, and how far back was looked."""

    since: dt.datetime
    """Nothing stored before it was looked at."""
    cut_short: bool
    """As many as were asked for were looked at: there may be more, before `since`."""
    keys: list[KeyUse]


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    key: str | None
    last_used: dt.datetime
    first_used: dt.datetime
    events: int
    last_day: int


async def key_uses(connection: Connection, since: dt.datetime, most: int) -> KeyUses:
    """The keys that verified what was stored since a time.

    Args:
        connection: one statement.
        since: aware.
        most: so many of the newest events are looked at, at most.
    """
    found = await connection.fetch(_USES, first_id(since), most)
    rows = msgspec.convert([dict(row) for row in found], list[_Row])
    cut_short = sum(row.events for row in rows) >= most
    return KeyUses(
        since=min(row.first_used for row in rows) if cut_short else since,
        cut_short=cut_short,
        keys=[
            KeyUse(source=row.source, key=row.key, last_used=row.last_used, last_day=row.last_day)
            for row in rows
            if row.key is not None
        ],
    )
