"""Runs the migrations of schema `receiver`, one program at a time, beside whatever else the database holds."""

import asyncio

import sqlalchemy as sa
from alembic import context
from sqlalchemy.engine import Connection

from receiver.settings import load
from receiver.storage import migrate
from receiver.storage.tables import SCHEMA, metadata


def ours(name: str | None, kind: str, _parents: object) -> bool:
    """Compare schema `receiver` only, without the partitions, which come and go with the months."""
    if kind == "schema":
        return name == SCHEMA
    return not (kind == "table" and name is not None and name.startswith("event_"))


def run(connection: Connection) -> None:
    """Migrate under the advisory lock: a second program waits here and then finds nothing left to do."""
    with migrate.locked(connection):
        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            include_schemas=True,
            include_name=ours,
            version_table_schema=SCHEMA,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


async def online() -> None:
    """Connect as the settings say, or as the caller did."""
    url = context.config.attributes.get("database_url") or load().database_url
    async with migrate.connection(url) as connection:
        await connection.run_sync(run)


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=metadata, version_table_schema=SCHEMA)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(online())
