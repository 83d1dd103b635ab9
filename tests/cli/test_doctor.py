"""`receiver doctor` and `receiver sources list`: each check can fail, and says what to do."""

import asyncio
import datetime as dt
import json
from pathlib import Path

import asyncpg
import msgspec
import pytest
import redis

from receiver.cli.exits import Exit
from receiver.operate import doctor
from receiver.storage import migrate
from receiver.storage.health import PostgresHealth
from tests.cli.kit import Cli, Ended, Sources


def execute(url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


@pytest.fixture
def set_up(
    with_sources: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    assert with_sources == Path.cwd()
    monkeypatch.setenv("RECEIVER_DATABASE_URL", database_url)
    monkeypatch.setenv("RECEIVER_REDIS_URL", redis_url)
    return monkeypatch


def checks(said: Ended) -> dict[str, dict[str, object]]:
    return {str(row["name"]): row for row in said.rows()}


def status(said: Ended, name: str) -> object:
    return checks(said)[name]["status"]


@pytest.mark.usefixtures("set_up")
def test_a_good_set_up_passes(cli: Cli, database_url: str) -> None:
    assert status(cli("doctor", "--json"), "partitions") == "warn"  # the template was migrated, not partitioned
    assert cli("migrate").out == f"already at revision {migrate.head()}\n"
    said = cli("doctor", "--json")
    # The tests' own servers run without fsync, which is what the doctor has to find.
    unwell = {name: row["status"] for name, row in checks(said).items() if row["status"] != "ok"}
    assert unwell.pop("workers") == "warn"
    assert unwell in ({"durability": "fail"}, {})
    assert said.code == (Exit.FAILED if unwell else Exit.OK)
    assert {"source stripe", "source alipay", "database", "schema", "clock", "redis"} <= set(checks(said))
    human = cli("doctor")
    assert human.err == ""
    assert f"at revision {migrate.head()}, the newest" in human.out
    assert database_url not in human.out


def test_a_database_that_is_not_there_fails(cli: Cli, set_up: pytest.MonkeyPatch) -> None:
    set_up.setenv("RECEIVER_DATABASE_URL", "postgresql://user:the-password@127.0.0.1:1/database")
    said = cli("doctor", "--json")
    assert said.code == Exit.FAILED
    assert status(said, "database") == "fail"
    assert "the-password" not in said.out
    assert status(said, "redis") == "ok"


def test_a_redis_that_is_not_there_fails(cli: Cli, set_up: pytest.MonkeyPatch) -> None:
    set_up.setenv("RECEIVER_REDIS_URL", "redis://:the-password@127.0.0.1:1/0")
    said = cli("doctor", "--json")
    assert said.code == Exit.FAILED
    assert checks(said)["redis"]["status"] == "fail"
    assert "callbacks are taken without it" in str(checks(said)["redis"]["advice"])
    assert "the-password" not in said.out


def test_urls_that_are_not_set_are_told_how_to_be(cli: Cli, with_sources: Path) -> None:
    assert with_sources == Path.cwd()
    said = cli("doctor", "--json")
    assert said.code == Exit.FAILED
    for name, variable in (("database", "RECEIVER_DATABASE_URL"), ("redis", "RECEIVER_REDIS_URL")):
        assert variable in str(checks(said)[name]["advice"])


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize(
    ("statement", "status_expected", "found"),
    [
        ("DROP SCHEMA receiver CASCADE", "fail", "not migrated"),
        ("UPDATE receiver.alembic_version SET version_num = '9999'", "warn", "at revision 9999, newer than"),
    ],
)
def test_a_schema_of_another_revision_is_found(
    *, cli: Cli, database_url: str, statement: str, status_expected: str, found: str
) -> None:
    execute(database_url, statement)
    schema = checks(cli("doctor", "--json"))["schema"]
    assert schema["status"] == status_expected
    assert str(schema["found"]).startswith(found)
    assert schema["advice"]


@pytest.mark.usefixtures("set_up")
def test_a_commit_that_may_be_lost_is_found(cli: Cli, database_url: str) -> None:
    execute(
        database_url,
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$",
    )
    durability = checks(cli("doctor", "--json"))["durability"]
    assert durability["status"] == "fail"
    assert "synchronous_commit" in str(durability["found"])


WORKER = """
INSERT INTO receiver.worker
    (name, host, pid, version, started_at, seen_at, state, concurrency, running, handlers, circuits)
VALUES ('{name}', 'h', 1, 'v', now(), now() - interval '{age}', '{state}', 1, 0, '{{pay, ship}}', '{circuits}')
"""
OPEN = '[{"handler": "pay", "since": "2025-01-31T12:00:00Z", "probe_at": "2025-01-31T12:00:30Z"}]'
OWED = """
INSERT INTO receiver.dispatch (event_id, handler, state, lane, lane_at, blocks)
SELECT gen_random_uuid(), '{handler}', '{state}', i, now(), {blocks} FROM generate_series(1, 3) AS i
"""


def worker(name: str = "one", age: str = "1 second", state: str = "running", circuits: str = "[]") -> str:
    return WORKER.format(name=name, age=age, state=state, circuits=circuits)


def owed(handler: str, state: str = "ready", *, blocks: bool = False) -> str:
    return OWED.format(handler=handler, state=state, blocks=blocks)


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize(
    ("rows", "name", "expected", "found", "advice"),
    [
        ([], "workers", "warn", "none is running", "start `receiver work TARGET`"),
        ([worker(state="stopped")], "workers", "warn", "none is running", "start"),
        ([worker(age="1 minute")], "workers", "warn", "none is running, 1 of the last day lost", "start"),
        ([worker(), worker("two", age="1 minute")], "workers", "ok", "1 running, 1 of the last day lost", None),
        ([worker()], "handlers", "ok", "workers know all", None),
        ([worker(), owed("pay")], "handlers", "ok", "workers know all", None),
        ([worker(), owed("gone", "succeeded")], "handlers", "ok", "workers know all", None),
        ([worker(), owed("old")], "handler old", "warn", "is owed 3 dispatches, due since 20", "say name='old'"),
        ([worker(), owed("old", "leased")], "handler old", "warn", "is owed 3 dispatches", "start a worker"),
        ([worker(circuits=OPEN)], "circuits", "warn", "open: pay since 2025-01-31 12:00:00Z", "most of its runs fail"),
        ([worker(circuits=OPEN, age="1 minute")], "circuits", "ok", "none is open", None),
        ([owed("pay", "dead", blocks=True)], "lanes of pay", "warn", "3 dead dispatches block theirs", "receiver dead"),
        ([owed("pay", "dead")], "lanes", "ok", "nothing dead blocks one", None),
    ],
)
def test_what_keeps_handlers_from_running_is_found(
    *, cli: Cli, database_url: str, rows: list[str], name: str, expected: str, found: str, advice: str | None
) -> None:
    for statement in rows:
        execute(database_url, statement)
    said = checks(cli("doctor", "--json"))
    assert said[name]["status"] == expected
    assert str(said[name]["found"]).startswith(found)
    assert (said[name]["advice"] is None) == (advice is None)
    assert advice is None or advice in str(said[name]["advice"])


@pytest.mark.usefixtures("set_up")
def test_memory_that_refuses_marks_is_found(cli: Cli, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        before = client.config_get("maxmemory*")
        try:
            client.config_set("maxmemory", "100mb")
            client.config_set("maxmemory-policy", "noeviction")
            assert status(cli("doctor", "--json"), "redis memory") == "warn"
            client.config_set("maxmemory-policy", "volatile-ttl")
            assert status(cli("doctor", "--json"), "redis memory") == "ok"
        finally:
            client.config_set("maxmemory", before["maxmemory"])
            client.config_set("maxmemory-policy", before["maxmemory-policy"])


@pytest.mark.usefixtures("set_up")
def test_each_source_is_looked_at_alone(cli: Cli, folder: Path) -> None:
    (folder / "receiver.toml").write_text(
        '[sources.good]\nprovider = "stripe"\nsecrets = ["whsec_x"]\n'
        '[sources.absent]\nprovider = "stripe"\nsecrets = ["env:NOT_THERE"]\n'
        '[sources.empty]\nprovider = "stripe"\n'
        '[sources.unknown]\nprovider = "paypall"\n'
        '[sources.open]\nprovider = "stripe"\nverification = "none"\n'
    )
    said = cli("doctor", "--json")
    found = {name.removeprefix("source "): row["status"] for name, row in checks(said).items() if "source " in name}
    assert found == {"good": "ok", "absent": "fail", "empty": "fail", "unknown": "fail", "open": "warn"}
    assert said.code == Exit.FAILED
    assert "NOT_THERE is not set" in said.out
    assert "whsec_x" not in said.out


NOW = dt.datetime(2025, 5, 5, 12, tzinfo=dt.UTC)
WELL = PostgresHealth(
    version="18.0",
    major=18,
    synchronous_commit="on",
    fsync=True,
    full_page_writes=True,
    in_recovery=False,
    now=NOW,
)


@pytest.mark.parametrize(("seconds", "expected"), [(0, "ok"), (1.9, "ok"), (-1.9, "ok"), (2.1, "warn"), (-600, "warn")])
def test_clocks_that_differ_are_found(seconds: float, expected: str) -> None:
    check = doctor._clock(WELL, NOW + dt.timedelta(seconds=seconds))
    assert check.status == expected
    assert ("behind" if seconds <= 0 else "ahead of") in check.found


@pytest.mark.parametrize(("major", "expected"), [(14, "fail"), (15, "ok"), (18, "ok"), (19, "warn")])
def test_versions_that_are_not_supported_are_found(major: int, expected: str) -> None:
    found = msgspec.structs.replace(WELL, major=major)
    assert doctor._version(found, "postgresql://u:p@h/d").status == expected


def test_a_standby_is_found() -> None:
    assert doctor._writable(msgspec.structs.replace(WELL, in_recovery=True)).status == "fail"


def test_sources_are_listed_without_their_secrets(cli: Cli, with_sources: Path, made_up_sources: Sources) -> None:
    with (with_sources / "receiver.toml").open("a") as toml:
        toml.write('[sources.second]\nprovider = "stripe"\nsecrets = ["whsec_new", "whsec_old"]\n')
        toml.write('[sources.open]\nprovider = "stripe"\nverification = "none"\nsecrets = ["whsec_x"]\n')
    said = cli("sources", "list", "--json")
    assert (said.code, said.err) == (0, "")
    rows = {str(row["name"]): row for row in said.rows()}
    assert set(rows) == {*made_up_sources, "second", "open"}
    assert {name: row["live_secrets"] for name, row in rows.items()} == {
        "stripe": 1,
        "standardwebhooks": 2,
        "alipay": 1,
        "wechatpay": 1,
        "second": 2,
        "open": 0,
    }
    assert rows["open"]["verification"] == "none"
    assert (rows["stripe"]["path"], rows["stripe"]["retry_hours"]) == ("/callbacks/stripe", 72)
    human = cli("sources", "list")
    assert human.err == "6 sources\n"
    assert "whsec" not in human.out + said.out
    assert json.dumps(made_up_sources["wechatpay"]["api_v3_key"]) not in human.out + said.out


def test_every_mistake_in_the_sources_is_told(cli: Cli, folder: Path) -> None:
    (folder / "receiver.toml").write_text('[sources.a]\nprovider = "stripe"\n[sources.b]\nprovider = "x"\n')
    said = cli("sources", "list")
    assert (said.code, said.out) == (Exit.SETTINGS, "")
    assert [line.split(": ")[2] for line in said.err.splitlines()] == ["sources.a.secrets", "sources.b.provider"]
