"""Which Postgres is this? The answer is part of every mark's name, so that no mark outlives the rows it vouches for."""

import hashlib

import asyncpg

from receiver.storage.engine import Connection

# The timeline is read from the WAL position, not from pg_control_checkpoint(): right after a promotion the control
# file still shows the old timeline until the first checkpoint ends, the WAL position does not.
_IDENTITY = """
SELECT (SELECT system_identifier FROM pg_control_system())::text,
       substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
       (SELECT oid FROM pg_database WHERE datname = current_database())::text,
       (SELECT id FROM receiver.installation)::text
"""


async def identity(connection: Connection) -> bytes | None:
    """16 hexadecimal digits that change with the cluster, its timeline, the database and the installed schema.

    Returns:
        None where a managed service hides one of them: then marks are not used.
    """
    try:
        row = await connection.fetchrow(_IDENTITY)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFunctionError):
        return None
    if row is None or None in tuple(row):
        return None
    return hashlib.sha256("/".join(row).encode()).hexdigest()[:16].encode()
