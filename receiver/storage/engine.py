"""SQLAlchemy engines on asyncpg, and the raw asyncpg connection below one of their connections."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from receiver.errors import SettingsError

CONNECT_TIMEOUT: Final = 5.0

# In quotes: asyncpg is generic in its stubs only.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Statement: TypeAlias = "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]"


def async_url(url: str) -> URL:
    """`postgresql://…` as SQLAlchemy's asyncpg dialect wants it; libpq's `sslmode` becomes asyncpg's `ssl`.

    Raises:
        SettingsError: it is no PostgreSQL URL. The message does not show it, for it may hold a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError("database_url: not a URL such as postgresql://user:password@host:5432/database") from None
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise SettingsError(f"database_url: must begin with postgresql://, not {parsed.drivername}://")
    query = dict(parsed.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def make_engine(
    url: str,
    *,
    name: str,
    size: int,
    settings: dict[str, str] | None = None,
    connect: Callable[..., Awaitable[Connection]] = asyncpg.connect,
) -> AsyncEngine:
    """An engine whose every statement commits by itself unless a transaction is begun in so many words.

    Args:
        url: `postgresql://…`.
        name: what the connections are called in `pg_stat_activity`.
        size: most connections at once.
        settings: PostgreSQL settings of each connection, such as `lock_timeout`.
        connect: makes each, as `asyncpg.connect` does.
    """
    return create_async_engine(
        async_url(url),
        isolation_level="AUTOCOMMIT",
        pool_size=size,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT,
        connect_args={
            "async_creator_fn": connect,
            "timeout": CONNECT_TIMEOUT,
            "server_settings": {"application_name": name, "timezone": "UTC", **(settings or {})},
        },
    )


async def raw_connection(connection: AsyncConnection) -> Connection:
    """The asyncpg connection below `connection`, for prepared statements on the hot path."""
    # Not the fairy's own attribute: a connection that was detached from its pool has lost that one.
    below = getattr((await connection.get_raw_connection()).dbapi_connection, "driver_connection", None)
    if not isinstance(below, asyncpg.Connection):
        raise TypeError("the engine does not run on asyncpg")
    return below
