"""What a test leaves in its database is not seen by the next one."""

import asyncio

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from tests.conftest import Servers
from tests.databases import Databases, execute

TAKEN_BACK = [
    "CREATE TABLE mine (id int)",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE receiver.mine PARTITION OF receiver.event FOR VALUES FROM (MINVALUE) TO (gen_random_uuid())",
    "CREATE SCHEMA judge; CREATE TABLE judge.mine (id int)",
    "INSERT INTO receiver.dispatch (event_id, handler) SELECT gen_random_uuid(), 'pay' FROM generate_series(1, 99)",
]
KEPT_BY_THE_DATABASE = [
    "ALTER TABLE receiver.dispatch DROP CONSTRAINT dispatch_state_check",
    "ALTER TABLE receiver.dispatch ADD mine int",
    "CREATE INDEX mine ON receiver.dispatch (state)",
    "CREATE TABLE receiver.mine (id int)",
    "CREATE SCHEMA mine",
    "GRANT SELECT ON receiver.event TO PUBLIC",
    "UPDATE receiver.installation SET id = gen_random_uuid()",
    "DROP SCHEMA receiver CASCADE",
    "UPDATE receiver.alembic_version SET version_num = '0001'",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$",
]
ROWS = "SELECT count(*) FROM receiver.dispatch"
ADDED = "SELECT count(*) FROM pg_class WHERE relname = 'mine'"


@pytest.fixture(scope="module")
def own(servers: Servers) -> Databases:
    return Databases(servers.database_url, "receiver_own")


@pytest.mark.parametrize("statement", TAKEN_BACK)
def test_what_is_taken_back(own: Databases, statement: str) -> None:
    url = own.make_migrated()
    execute(url, statement)
    own.give_back(url)
    assert own.make_migrated() == url
    assert (count(url, ROWS), count(url, ADDED)) == (0, 0)
    own.drop(url)


@pytest.mark.parametrize("statement", KEPT_BY_THE_DATABASE)
def test_what_is_not_ends_the_database(own: Databases, servers: Servers, statement: str) -> None:
    url = own.make_migrated()
    execute(url, statement)
    own.give_back(url)
    other = own.make_migrated()
    assert other != url
    name = make_url(url).database
    assert count(servers.database_url, f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") == 0
    own.drop(other)


def test_where_somebody_is_still_connected_nobody_else_comes(own: Databases) -> None:
    url = own.make_migrated()

    async def stay() -> None:
        connection = await asyncpg.connect(url)
        own.give_back(url)
        other = await asyncio.to_thread(own.make_migrated)
        assert other != url
        await asyncio.to_thread(own.drop, other)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await connection.execute("SELECT 1")

    asyncio.run(stay())


def count(url: str, query: str) -> int:
    async def ask() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    return asyncio.run(ask())
