"""`receiver sources keys`: when each key was last used, over events that we put there, and how much is read for it."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import asyncpg
import msgspec
import pytest
import uuid_utils

from receiver.cli.exits import Exit
from receiver.operate.key_use import KeyUseRow
from receiver.storage import key_use
from receiver.storage.partitions import first_id
from tests.cli.kit import Cli

NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
WINDOW = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
EVENT = """
INSERT INTO receiver.event (id, key, source, provider, external_id, received_at, headers, body, secret)
VALUES ($1, $2, $3, 'stripe', 'evt', $4, '{}', '{}', $5)
"""
SETTINGS = """
[sources.shop]
provider = "stripe"
secrets = [
    { value = "whsec_1", name = "new", not_before = 2026-01-31T12:00:00Z },
    { value = "whsec_2", name = "old", not_after = 2026-01-31T12:00:00Z },
    { value = "whsec_3", name = "idle" },
]

[sources.plain]
provider = "stripe"
secrets = ["whsec_4"]

[sources.open]
provider = "stripe"
verification = "none"
secrets = ["whsec_5"]
"""
Put = tuple[str, dt.timedelta, str | None]
PUT: tuple[Put, ...] = (
    ("shop", HOUR, "new"),
    ("shop", 2 * HOUR, "new"),
    ("shop", 3 * HOUR, "old"),
    ("shop", 2 * DAY, "old"),
    ("shop", 5 * DAY, "gone"),
    ("shop", 9 * DAY, "idle"),
    ("plain", 2 * DAY, "secrets[0]"),
    ("open", HOUR, None),
    ("internal", HOUR, None),
    ("elsewhere", HOUR, "new"),
)


def id_of(age: dt.timedelta) -> uuid.UUID:
    """A UUIDv7 of that age."""
    when = first_id(NOW - age).replace("-", "")[:12]
    return uuid.UUID(hex=when + uuid_utils.uuid7().hex[12:])


def fill(url: str, events: Iterable[Put]) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        rows = [(id_of(age), uuid.uuid4().bytes, source, NOW - age, secret) for source, age, secret in events]
        await connection.executemany(EVENT, rows)
        await connection.execute("ANALYZE receiver.event")
        await connection.close()

    asyncio.run(run())


@pytest.fixture
def filled(folder: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    (folder / "receiver.toml").write_text(SETTINGS)
    monkeypatch.setenv("RECEIVER_DATABASE_URL", database_url)
    fill(database_url, PUT)
    return database_url


@pytest.fixture
def listed(cli: Cli, filled: str) -> Callable[..., list[KeyUseRow]]:
    del filled

    def rows(*arguments: object) -> list[KeyUseRow]:
        said = cli("sources", "keys", *arguments, "--json")
        assert (said.code, said.err) == (0, "")
        assert "whsec" not in said.out
        return msgspec.json.decode(said.out, type=list[KeyUseRow])

    return rows


def told(row: KeyUseRow) -> tuple[str, str, str | None, dt.timedelta | None, int]:
    age = None if row.last_used is None else NOW - row.last_used
    return row.source, row.key, row.setting, age, row.last_day


def test_when_each_key_was_last_used(listed: Callable[..., list[KeyUseRow]]) -> None:
    """One that is idle, one that the settings know no more, and nothing of what is not verified or not ours."""
    rows = listed()
    assert [told(row) for row in rows] == [
        ("shop", "new", "secrets[0]", HOUR, 2),
        ("shop", "old", "secrets[1]", 3 * HOUR, 1),
        ("shop", "idle", "secrets[2]", None, 0),
        ("shop", "gone", None, 5 * DAY, 0),
        ("plain", "secrets[0]", "secrets[0]", 2 * DAY, 0),
    ]
    assert [row.not_before for row in rows] == [WINDOW, None, None, None, None]
    assert [row.not_after for row in rows] == [None, WINDOW, None, None, None]


def test_how_far_back_is_looked(listed: Callable[..., list[KeyUseRow]]) -> None:
    assert [row.key for row in listed("shop", "--since", "3d")] == ["new", "old", "idle"]
    idle = listed("shop", "--since", "10d")[2]
    assert told(idle) == ("shop", "idle", "secrets[2]", 9 * DAY, 0)
    assert dt.timedelta(0) <= idle.since - (NOW - 10 * DAY) < HOUR
    assert [row.since for row in listed("shop", "--events", 5)] == [NOW - 2 * HOUR] * 3, "five are not older"


def test_what_a_person_is_told(cli: Cli, filled: str) -> None:
    del filled
    said = cli("sources", "keys", "shop")
    first, new, *_ = said.out.splitlines()
    assert " ".join(first.split()) == "SOURCE KEY SETTING LAST USED IN 24 H NOT BEFORE NOT AFTER"
    assert new.split()[:3] == ["shop", "new", "secrets[0]"]
    assert new.split()[-3:] == ["2026-01-31", "12:00:00Z", "-"]
    assert said.err.startswith("4 keys, looked back to ")
    assert said.err.count("\n") == 1
    assert "older events were not looked at" in cli("sources", "keys", "--events", 5).err
    plain = cli("sources", "keys", "plain").out.splitlines()
    assert " ".join(plain[0].split()) == "SOURCE KEY SETTING LAST USED IN 24 H"


PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
UNNAMED = {
    "one": ('provider = "stripe"\nsecrets = ["whsec_4"]', False),
    "two": ('provider = "stripe"\nsecrets = ["whsec_5", "whsec_4"]', True),
    "two, one with a name": ('provider = "stripe"\nsecrets = [{ value = "whsec_5", name = "new" }, "whsec_4"]', False),
    "one of each kind": (f'provider = "standardwebhooks"\nsecrets = "whsec_MTIz"\npublic_keys = "{PUBLIC}"', False),
    "named by a table": ('provider = "braintree"\n[sources.plain.keys]\na = "1"\nb = "2"', False),
}


@pytest.mark.parametrize(("settings", "warned"), UNNAMED.values(), ids=UNNAMED)
def test_keys_that_have_no_name_may_change_places(
    cli: Cli, filled: str, folder: Path, settings: str, warned: bool
) -> None:
    del filled
    (folder / "receiver.toml").write_text(f"[sources.plain]\n{settings}\n")
    said = cli("sources", "keys")
    assert said.code == 0
    assert ("told apart by their place" in said.err) is warned


@pytest.mark.parametrize(
    ("source", "mistake"), [("nobody", "no source is called 'nobody'"), ("open", "sources.open.verification: is none")]
)
def test_a_source_without_keys(cli: Cli, filled: str, source: str, mistake: str) -> None:
    del filled
    said = cli("sources", "keys", source)
    assert (said.code, said.out) == (Exit.SETTINGS, "")
    assert mistake in said.err


def test_no_more_is_read_than_is_said(database_url: str) -> None:
    """However many events there are: the newest alone, by the primary key, one more of each partition."""
    fill(database_url, [("shop", n * dt.timedelta(seconds=1), "new") for n in range(5_000)])
    plan = asyncio.run(_planned(database_url, most=50))
    scans = [node for node in _nodes(plan) if "Scan" in str(node["Node Type"])]
    assert {node["Node Type"] for node in scans} == {"Index Scan"}
    assert 50 <= sum(float(str(node["Actual Rows"])) for node in scans) <= 50 + len(scans)


async def _planned(url: str, most: int) -> dict[str, object]:
    connection = await asyncpg.connect(url)
    try:
        said = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {key_use._USES}", first_id(NOW - DAY), most)
    finally:
        await connection.close()
    (whole,) = msgspec.json.decode(said, type=list[dict[str, object]])
    return msgspec.convert(whole["Plan"], dict[str, object])


def _nodes(plan: dict[str, object]) -> Iterator[dict[str, object]]:
    yield plan
    below = plan.get("Plans", [])
    assert isinstance(below, list)
    for part in below:
        yield from _nodes(part)
