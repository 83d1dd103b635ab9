"""Migrations up, down and up again, alone and against each other."""

import asyncio
import datetime as dt
import os
import subprocess
import sys
import uuid
from pathlib import Path

import asyncpg
import pytest
import uuid_utils
from alembic import command
from alembic.config import Config
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from receiver.storage import migrate
from receiver.storage.engine import async_url
from receiver.storage.partitions import first_id, month
from receiver.storage.states import State
from receiver.storage.tables import dispatch
from tests.databases import execute

ROOT = Path(__file__).resolve().parents[2]
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'receiver'"
EVENT = """
INSERT INTO receiver.event (id, key, source, provider, external_id, headers, body)
VALUES (gen_random_uuid(), '\\x00', 's', 'stripe', 'evt_1', '{}', '')
"""


def query(url: str, statement: str) -> list[str]:
    async def run() -> list[str]:
        connection = await asyncpg.connect(url)
        try:
            return [str(row[0]) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(run())


def alembic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env={**os.environ, "RECEIVER_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_plain_alembic_does_what_receiver_migrate_does(empty_database_url: str) -> None:
    done = alembic(empty_database_url, "upgrade", "head")
    assert done.returncode == 0, done.stderr
    assert {"dedup_key", "event", "dispatch", "attempt", "quarantine", "installation"} <= set(
        query(empty_database_url, TABLES)
    )


def test_tables_and_migrations_agree(database_url: str) -> None:
    done = alembic(database_url, "check")
    assert done.returncode == 0, done.stdout + done.stderr


DEFINED = """
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'receiver.dispatch'::regclass
UNION ALL
SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'receiver.dispatch'::regclass
ORDER BY 1
"""


def test_states_in_checks_and_indexes_are_the_same_in_tables_and_migrations(
    database_url: str, empty_database_url: str
) -> None:
    """What `alembic check` does not compare. A partial index helps only those whose condition it has."""
    statements: list[DDLElement] = [CreateTable(dispatch), *(CreateIndex(index) for index in dispatch.indexes)]
    dialect = async_url("postgresql://").get_dialect()()
    made = [str(statement.compile(dialect=dialect)) for statement in statements]
    execute(empty_database_url, "CREATE SCHEMA receiver", *made)
    migrated = query(database_url, DEFINED)
    assert len(migrated) > 5
    assert query(empty_database_url, DEFINED) == migrated


def test_a_state_that_is_none_is_refused_and_all_others_are_not(database_url: str) -> None:
    insert = "INSERT INTO receiver.dispatch (event_id, handler, state) VALUES (gen_random_uuid(), 'h', '{}')"
    execute(database_url, *(insert.format(state) for state in State))
    with pytest.raises(asyncpg.CheckViolationError, match="dispatch_state_check"):
        execute(database_url, insert.format("redy"))


def test_up_down_and_up_again_on_a_database_with_rows(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    asyncio.run(migrate.make_partitions(empty_database_url))
    query(empty_database_url, EVENT)
    first = query(empty_database_url, "SELECT id FROM receiver.installation")
    migrate.downgrade(empty_database_url, "base")
    assert query(empty_database_url, TABLES) == ["alembic_version"]
    migrate.upgrade(empty_database_url)
    assert query(empty_database_url, "SELECT count(*) FROM receiver.event") == ["0"]
    # Marks left by the first installation must not vouch for rows of the second.
    assert query(empty_database_url, "SELECT id FROM receiver.installation") != first


# As the version before writes it, and this one; both have failed before.
SUCCESSES = """
INSERT INTO receiver.dispatch (event_id, handler, state, epoch, attempts, worker, started_at)
VALUES (uuid_nil(), 'old', 'succeeded', 2, 2, 'w', NULL), (uuid_nil(), 'new', 'succeeded', 2, 2, 'w', now());
INSERT INTO receiver.attempt (event_id, handler, epoch, number, trigger, worker, started_at, outcome)
VALUES (uuid_nil(), 'old', 2, 2, 'scheduled', 'w', now(), 'succeeded'),
       (uuid_nil(), 'old', 1, 1, 'scheduled', 'w', now(), 'retry'),
       (uuid_nil(), 'new', 1, 1, 'scheduled', 'w', now(), 'retry')
"""
RAN = "SELECT handler || ' ' || number || ' ' || outcome FROM receiver.{} ORDER BY handler, epoch"


def test_a_success_is_recorded_once_by_this_version_and_by_the_one_before(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    execute(empty_database_url, *SUCCESSES.replace("uuid_nil()", f"'{uuid.UUID(int=0)}'").split(";"))
    all_of_them = ["new 1 retry", "new 2 succeeded", "old 1 retry", "old 2 succeeded"]
    assert query(empty_database_url, RAN.format("every_attempt")) == all_of_them
    migrate.downgrade(empty_database_url, "0008")
    assert query(empty_database_url, RAN.format("attempt")) == all_of_them


def test_of_three_at_once_each_finds_the_work_done_or_does_it(empty_database_url: str) -> None:
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=ROOT,
            env={**os.environ, "RECEIVER_DATABASE_URL": empty_database_url},
        )
        for _ in range(3)
    ]
    assert [program.wait(60) for program in programs] == [0, 0, 0]
    assert query(empty_database_url, "SELECT count(*) FROM receiver.installation") == ["1"]


def test_a_second_migration_waits_for_the_lock(empty_database_url: str) -> None:
    asking = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'receiver-migrate'"
        " AND datname = current_database() AND query LIKE '%pg_try_advisory_lock%' OR query = 'COMMIT;'"
    )

    async def run() -> None:
        holder = await asyncpg.connect(empty_database_url)
        await holder.execute("SELECT pg_advisory_lock(hashtext('receiver.migrate'))")
        second = asyncio.create_task(asyncio.to_thread(migrate.upgrade, empty_database_url))
        async with asyncio.timeout(30):
            while await holder.fetchval(asking) == 0:
                assert not second.done()
                await asyncio.sleep(0.02)
        await holder.close()
        await second

    asyncio.run(run())
    assert asyncio.run(migrate.current(empty_database_url)) == migrate.head()


def test_partitions_are_made_once(database_url: str) -> None:
    made = asyncio.run(migrate.make_partitions(database_url))
    assert len(made) == 4
    assert asyncio.run(migrate.make_partitions(database_url)) == []


def test_an_id_of_a_month_lies_between_its_bounds(database_url: str) -> None:
    today = dt.datetime.now(dt.UTC).date()
    assert first_id(month(today, 0)) < str(uuid_utils.uuid7()) < first_id(month(today, 1))
    asyncio.run(migrate.make_partitions(database_url))
    query(database_url, EVENT.replace("gen_random_uuid()", f"'{uuid_utils.uuid7()}'"))
    found = query(database_url, "SELECT relname FROM receiver.event e JOIN pg_class c ON c.oid = e.tableoid")
    assert found == [f"event_{today:%Y_%m}"]


def test_head_can_be_read_from_the_command_line_config() -> None:
    config = Config(ROOT / "alembic.ini")
    command.heads(config)
    assert migrate.head() == max(path.name[:4] for path in (ROOT / "migrations" / "versions").glob("*.py"))


def test_a_month_with_rows_in_the_default_partition_stays_there(database_url: str) -> None:
    query(database_url, EVENT.replace("gen_random_uuid()", f"'{uuid_utils.uuid7()}'"))
    made = asyncio.run(migrate.make_partitions(database_url))
    assert len(made) == 3
    assert query(database_url, "SELECT count(*) FROM receiver.event_default") == ["1"]
