"""One connection for one question, and errors that say what to do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from receiver.errors import SettingsError, StoreUnavailable
from receiver.inbox.faults import UNREACHABLE
from receiver.settings import without_password
from receiver.storage.engine import Connection, make_engine, raw_connection

_NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)


@asynccontextmanager
async def database(url: str) -> AsyncIterator[Connection]:
    """A connection in autocommit, closed at the end.

    Raises:
        StoreUnavailable: Postgres cannot be reached, or broke off.
        SettingsError: it is not migrated.
    """
    engine = make_engine(url, name="receiver-operate", size=1, settings={"statement_timeout": "60s"})
    try:
        async with engine.connect() as connection:
            yield await raw_connection(connection)
    except _NOT_MIGRATED:
        raise SettingsError("database: is not migrated, or by an older version; run `receiver migrate`") from None
    except UNREACHABLE as error:
        raise unavailable(url, error) from error
    finally:
        await engine.dispose()


def unavailable(url: str, error: BaseException) -> StoreUnavailable:
    """The error for a Postgres at `url` that did not answer, without the password."""
    said = " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
    return StoreUnavailable(f"PostgreSQL at {without_password(url)} cannot be used: {said}")
