"""A connection of the pool for one statement of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.storage.engine import Connection, raw_connection


@asynccontextmanager
async def borrowed(engine: AsyncEngine) -> AsyncIterator[Connection]:
    """Lend one; after an error it is thrown away.

    The pool does not see what happens below SQLAlchemy: a connection that was cut while it lay idle, or in use, would
    be lent out again and again.
    """
    async with engine.connect() as connection:
        raw = await raw_connection(connection)
        try:
            yield raw
        except BaseException:
            raw.terminate()
            await connection.invalidate()
            raise
