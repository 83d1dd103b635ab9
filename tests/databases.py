"""Databases of single tests. A migrated one is emptied and lent again: that takes a tenth of the time of a copy."""

import asyncio
import itertools
import os
from typing import Final

import asyncpg
from sqlalchemy.engine import make_url

from receiver.storage import migrate
from receiver.storage.engine import Connection

_OTHERS: Final = """
SELECT string_agg(coalesce(nullif(application_name, ''), 'somebody'), ', ') FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_GONE_SECONDS: Final = 0.5
"""For the backends of programs that have just ended."""
# What a test adds stands in `public`, or is its judge; and a server makes partitions. A table without pages was not
# written to.
_EMPTY: Final = """
DROP SCHEMA IF EXISTS judge CASCADE;
DO $$
DECLARE
    written text;
    months text;
BEGIN
    IF EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'public'::regnamespace)
    THEN
        DROP SCHEMA public CASCADE;
        CREATE SCHEMA public AUTHORIZATION pg_database_owner;
        GRANT USAGE ON SCHEMA public TO PUBLIC;
    END IF;
    SELECT string_agg(oid::regclass::text, ', ') INTO months FROM pg_class
    WHERE relispartition AND relkind = 'r' AND pg_get_expr(relpartbound, oid) <> 'DEFAULT';
    IF months IS NOT NULL THEN
        EXECUTE 'DROP TABLE ' || months;
    END IF;
    SELECT string_agg(oid::regclass::text, ', ') INTO written FROM pg_class
    WHERE relnamespace = 'receiver'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
        AND relname NOT IN ('installation', 'alembic_version');
    IF written IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || written || ' RESTART IDENTITY CASCADE';
    END IF;
END $$;
"""
# All that a test may have changed and that `_EMPTY` does not take back.
_SHAPE: Final = """
WITH ours AS (
    SELECT * FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), tables AS (
    SELECT c.* FROM pg_class c JOIN ours ON ours.oid = c.relnamespace
), lines (line) AS (
    SELECT (nspname, nspowner, nspacl)::text FROM ours
    UNION ALL SELECT (relname, relkind, relpersistence, relowner, relacl, reloptions)::text FROM tables
    UNION ALL SELECT (relname, attname, atttypid, attnotnull, attacl)::text
        FROM pg_attribute JOIN tables ON tables.oid = attrelid
    UNION ALL SELECT (conname, conrelid::regclass, convalidated, pg_get_constraintdef(c.oid))::text
        FROM pg_constraint c JOIN ours ON ours.oid = connamespace
    UNION ALL SELECT (proname, proowner, proacl, prosrc)::text FROM pg_proc JOIN ours ON ours.oid = pronamespace
    UNION ALL SELECT (tgname, tgrelid::regclass, tgenabled)::text FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT extname FROM pg_extension
    UNION ALL SELECT (setrole, setconfig)::text
        FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase AND datname = current_database()
    UNION ALL SELECT datacl::text FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT i::text FROM receiver.installation i
    UNION ALL SELECT v::text FROM receiver.alembic_version v
)
SELECT md5(string_agg(line, ';' ORDER BY line)) FROM lines
"""


def execute(url: str, *statements: str) -> None:
    """Run statements that stand outside transactions, such as CREATE DATABASE."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def with_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


class Databases:
    """Makes them on one server, and keeps those that are given back.

    Args:
        url: of a database of the server.
        name: what their names begin with.
    """

    def __init__(self, url: str, name: str = "receiver_test") -> None:
        self._url = url
        self._names = (f"{name}_{os.getpid()}_{number}" for number in itertools.count())
        self._template: str | None = None
        self._shape = ""
        self._spare: list[str] = []

    def make(self) -> str:
        """An empty one."""
        name = next(self._names)
        execute(self._url, f"CREATE DATABASE {name}")
        return with_database(self._url, name)

    def make_migrated(self) -> str:
        """One that was given back, if it can be made as good as new; else a copy of a migrated one."""
        while self._spare:
            url = self._spare.pop()
            if asyncio.run(_emptied(url)) == self._shape:
                return url
            self.drop(url)
        if self._template is None:
            migrated = self.make()
            migrate.upgrade(migrated)
            self._shape = asyncio.run(_shape(migrated))
            self._template = make_url(migrated).database
        name = next(self._names)
        # As files: neither the copy nor its removal is written to the log, which takes half as long.
        execute(self._url, f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY file_copy")
        return with_database(self._url, name)

    def give_back(self, url: str) -> None:
        """Keep it for another test. It is emptied then, when no program of this one is left to write to it."""
        self._spare.append(url)

    def drop(self, url: str) -> None:
        """Remove it, whoever is connected."""
        execute(self._url, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


async def _emptied(url: str) -> str:
    """Empty it; its shape after that, or why that cannot be told."""
    connection = await asyncpg.connect(url)
    try:
        if others := await _others(connection):
            return f"{others}: would come back, and write what is not this test's"
        await connection.execute(_EMPTY)
        return await _shape_of(connection)
    except asyncpg.InvalidSchemaNameError as error:
        return str(error)
    finally:
        await connection.close()


async def _others(connection: Connection) -> object:
    """Who is connected beside us, and stays."""
    looks = int(_GONE_SECONDS / 0.01)
    for _ in range(looks):
        if await connection.fetchval(_OTHERS) is None:
            break
        await asyncio.sleep(0.01)
    return await connection.fetchval(_OTHERS)


async def _shape(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return await _shape_of(connection)
    finally:
        await connection.close()


async def _shape_of(connection: Connection) -> str:
    return str(await connection.fetchval(_SHAPE))
