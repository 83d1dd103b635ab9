"""What `receiver doctor` asks Postgres: is it one that keeps its promises, and is it ready for us?"""

import datetime as dt
from typing import Final

import msgspec

from receiver.storage.engine import Connection

_HEALTH: Final = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int / 10000 AS major,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('fsync') = 'on' AS fsync,
       current_setting('full_page_writes') = 'on' AS full_page_writes,
       pg_is_in_recovery() AS in_recovery,
       clock_timestamp() AS now
"""

_PARTITIONS: Final = """
SELECT c.relname::text AS name
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass('receiver.event') AND c.relname <> 'event_default' ORDER BY c.relname
"""


class PostgresHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One Postgres, as this program's role sees it."""

    version: str
    major: int
    synchronous_commit: str
    """`off`: a commit that was acknowledged may be lost in a crash."""
    fsync: bool
    full_page_writes: bool
    in_recovery: bool
    """A standby: it takes no writes."""
    now: dt.datetime
    """The database's clock."""


async def health(connection: Connection) -> PostgresHealth:
    """Version, durability and clock."""
    row = await connection.fetchrow(_HEALTH)
    return msgspec.convert(dict(row or {}), PostgresHealth)


async def partitions(connection: Connection) -> list[str]:
    """The names of the monthly partitions of `receiver.event`, oldest first; none where it was never migrated."""
    return [row["name"] for row in await connection.fetch(_PARTITIONS)]
