"""Brings schema `receiver` to the newest revision, one program at a time."""

import datetime as dt
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from receiver.errors import SettingsError
from receiver.storage.engine import CONNECT_TIMEOUT, async_url, raw_connection
from receiver.storage.partitions import ensure_partitions

_LOCK: Final = sa.text("SELECT pg_try_advisory_lock(hashtext('receiver.migrate'))")
_UNLOCK: Final = sa.text("SELECT pg_advisory_unlock(hashtext('receiver.migrate'))")
_LOCK_PAUSE: Final = 0.1
_PACKAGE: Final = Path(__file__).resolve().parents[1]


@contextmanager
def locked(connection: Connection) -> Iterator[None]:
    """Hold the migration lock of this database on `connection`; waits for whoever has it."""
    # Asked again and again: a statement that waits holds a snapshot, for which CREATE INDEX CONCURRENTLY would wait.
    while not connection.execute(_LOCK).scalar():
        connection.commit()
        time.sleep(_LOCK_PAUSE)
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(_UNLOCK)
        connection.commit()


@asynccontextmanager
async def connection(url: str | None) -> AsyncIterator[AsyncConnection]:
    """A connection for migrations: transactional, unlike those of `engine.make_engine`.

    Raises:
        SettingsError: there is no URL.
    """
    if not url:
        raise SettingsError("database_url: is not set; say RECEIVER_DATABASE_URL=postgresql://…")
    # A role named like our schema has it as its default schema, which alembic then takes for the nameless one.
    settings = {"application_name": "receiver-migrate", "search_path": "public"}
    engine = create_async_engine(async_url(url), connect_args={"timeout": CONNECT_TIMEOUT, "server_settings": settings})
    try:
        async with engine.connect() as opened:
            yield opened
    finally:
        await engine.dispose()


def config(url: str | None) -> Config:
    """Alembic's configuration for the migrations that came with this package."""
    installed = _PACKAGE / "_migrations"
    made = Config()
    made.set_main_option("script_location", str(installed if installed.is_dir() else _PACKAGE.parent / "migrations"))
    made.set_main_option("path_separator", "os")
    made.attributes["database_url"] = url
    return made


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate up. Blocks; not to be called on an event loop."""
    command.upgrade(config(url), revision)


def downgrade(url: str, revision: str) -> None:
    """Migrate down. Blocks; not to be called on an event loop."""
    command.downgrade(config(url), revision)


def head() -> str:
    """The newest revision that this package knows."""
    found = ScriptDirectory.from_config(config(None)).get_current_head()
    if found is None:
        raise SettingsError("migrations: none came with this package")
    return found


def older_revisions() -> set[str]:
    """Every revision that this package knows, but for the newest. One it does not know is newer: that is served."""
    newest = head()
    return {script.revision for script in ScriptDirectory.from_config(config(None)).walk_revisions()} - {newest}


async def current(url: str) -> str | None:
    """The revision that the database is at; None where it was never migrated."""
    async with connection(url) as opened:
        if await opened.scalar(sa.text("SELECT to_regclass('receiver.alembic_version')")) is None:
            return None
        revision = await opened.scalar(sa.text("SELECT version_num FROM receiver.alembic_version"))
        return None if revision is None else str(revision)


async def make_partitions(url: str) -> list[str]:
    """Make the partitions of the coming months; the names of those made."""
    engine = create_async_engine(async_url(url), isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as opened:
            return await ensure_partitions(await raw_connection(opened), dt.datetime.now(dt.UTC).date())
    finally:
        await engine.dispose()
