"""The state of an event, and which events a filter lists, over rows that we put there."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Sequence

import asyncpg
import pytest
import uuid_utils

from receiver.cli.moments import moment
from receiver.operate.database import database
from receiver.storage import views
from receiver.storage.views import EventRow, Filter
from tests.cli.kit import Cli

STATES = {
    "unhandled": [],
    "pending": [("ready", 0)],
    "pending while it runs": [("leased", 3)],
    "retrying": [("ready", 1)],
    "retrying beside one that runs": [("leased", 1), ("ready", 2), ("succeeded", 1)],
    "succeeded": [("succeeded", 1), ("succeeded", 4)],
    "pending beside one that succeeded": [("succeeded", 1), ("ready", 0)],
    "dead": [("dead", 5), ("ready", 1), ("leased", 1), ("succeeded", 1)],
}
EVENT = """
INSERT INTO receiver.event (id, key, source, provider, external_id, type, received_at, headers, body)
VALUES ($1, $2, $3, 'stripe', $4, $5, now() - make_interval(secs => $6), '{"a": "b"}', 'body')
"""
KEY = "INSERT INTO receiver.dedup_key (key, event_id, duplicates) VALUES ($1, $2, $3)"
DISPATCH = "INSERT INTO receiver.dispatch (event_id, handler, state, attempts) VALUES ($1, $2, $3, $4)"


def fill(url: str) -> None:
    """One event for each of STATES, an hour apart, the first the newest."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        for number, (name, dispatches) in enumerate(STATES.items()):
            event_id = uuid.UUID(str(uuid_utils.uuid7()))
            key = number.to_bytes(20, "big")
            age = 3600.0 * (len(STATES) - number)
            source = "even" if number % 2 == 0 else "odd"
            await connection.execute(EVENT, event_id, key, source, name, f"type-{number % 3}", age)
            if number:  # the first one's key was purged
                await connection.execute(KEY, key, event_id, number)
            for index, (state, attempts) in enumerate(dispatches):
                await connection.execute(DISPATCH, event_id, f"handler-{index}", state, attempts)
        await connection.close()

    asyncio.run(run())


def listed(url: str, wanted: Filter) -> list[EventRow]:
    async def run() -> list[EventRow]:
        async with database(url) as connection:
            return await views.events(connection, wanted)

    return asyncio.run(run())


@pytest.fixture
def filled(database_url: str) -> str:
    fill(database_url)
    return database_url


def test_the_state_of_an_event_is_the_worst_of_its_dispatches(filled: str) -> None:
    rows = listed(filled, Filter())
    assert {row.external_id: row.state for row in rows} == {name: name.split()[0] for name in STATES}
    assert [row.duplicates for row in reversed(rows)] == list(range(len(STATES)))


def names(rows: Sequence[EventRow]) -> set[str]:
    return {row.external_id for row in rows}


@pytest.mark.parametrize("state", ["dead", "retrying", "pending", "succeeded", "unhandled"])
def test_each_state_can_be_listed(filled: str, state: views.State) -> None:
    assert names(listed(filled, Filter(state=state))) == {name for name in STATES if name.split()[0] == state}


def test_filters_narrow_each_other(filled: str) -> None:
    everything = list(STATES)
    assert names(listed(filled, Filter(source="odd"))) == set(everything[1::2])
    assert names(listed(filled, Filter(type="type-0"))) == set(everything[::3])
    assert names(listed(filled, Filter(source="odd", type="type-0"))) == set(everything[3::6])
    since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2, minutes=30)
    assert names(listed(filled, Filter(since=since))) == set(everything[-2:])
    assert [row.external_id for row in listed(filled, Filter(limit=2))] == everything[-1:-3:-1]


def test_sums_count_every_row_once(filled: str) -> None:
    async def run() -> views.Totals:
        async with database(filled) as connection:
            return await views.totals(connection)

    assert asyncio.run(run()) == views.Totals(
        accepted=8, duplicates=28, quarantined=0, succeeded=5, retrying=3, pending=5, dead=1
    )


def test_a_dead_dispatch_outlives_its_event(filled: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_DATABASE_URL", filled)

    async def drop() -> None:
        connection = await asyncpg.connect(filled)
        await connection.execute("DELETE FROM receiver.event")
        await connection.close()

    asyncio.run(drop())
    (row,) = cli("dead", "list", "--json").rows()
    assert (row["handler"], row["source"], row["attempts"]) == ("handler-0", None, 5)
    assert cli("dead", "list").code == 0


def test_nothing_in_a_list_can_act_on_a_terminal(database_url: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_DATABASE_URL", database_url)
    nasty = "\x1b[31mred\r\n\x07[bold]\u202ereversed"

    async def store() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(EVENT, uuid.uuid4(), b"k", "s", nasty, nasty, 0.0)
        await connection.close()

    asyncio.run(store())
    said = cli("events", "list")
    assert "\\x1b[31mred\\r\\n\\x07[bold]\\u202ereversed" in said.out
    assert len(said.out.splitlines()) == 2
    shown = cli("events", "show", nasty)
    assert shown.code == 0
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(shown.out)
    assert cli("events", "list", "--json").rows()[0]["external_id"] == nasty


NOW = dt.datetime(2025, 5, 5, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("90s", dt.datetime(2025, 5, 5, 11, 58, 30, tzinfo=dt.UTC)),
        ("30m", dt.datetime(2025, 5, 5, 11, 30, tzinfo=dt.UTC)),
        ("12h", dt.datetime(2025, 5, 5, tzinfo=dt.UTC)),
        ("7d", dt.datetime(2025, 4, 28, 12, tzinfo=dt.UTC)),
        ("2025-05-01", dt.datetime(2025, 5, 1, tzinfo=dt.UTC)),
        ("2025-05-01T10:00+08:00", dt.datetime(2025, 5, 1, 2, tzinfo=dt.UTC)),
    ],
)
def test_an_age_or_a_time_is_a_moment(text: str | None, expected: dt.datetime | None) -> None:
    assert moment(text, NOW) == expected
