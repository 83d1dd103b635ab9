"""The state of an event, and which events a filter lists, over rows that we put there."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Sequence
from pathlib import Path

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


NOW = dt.datetime(2025, 5, 5, 12, tzinfo=dt.UTC)
LANED = """
INSERT INTO receiver.dispatch (event_id, handler, state, lane, lane_at, blocks, deferrals, deferred_at)
VALUES ($1, 'pay', $2, $3, $4, $5, $6, $7)
"""


class Laned:
    """Events of one handler, named, in lanes that we put them into."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.ids: dict[str, str] = {}
        self._rows: list[tuple[object, ...]] = []

    def add(
        self, name: str, state: str, *, lane: int | None, at: int = 0, blocks: bool = False, deferrals: int = 0
    ) -> None:
        event_id = uuid.UUID(str(uuid_utils.uuid7()))
        self.ids[name] = str(event_id)
        lane_at = None if lane is None else NOW + dt.timedelta(seconds=at)
        self._rows.append((event_id, state, lane, lane_at, blocks, deferrals, NOW if deferrals else None))

    def store(self, *more: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self._url)
            names = {event_id: name for name, event_id in self.ids.items()}
            for row in self._rows:
                event_id, *_ = row
                assert isinstance(event_id, uuid.UUID)
                await connection.execute(EVENT, event_id, event_id.bytes, "s", names[str(event_id)], "t", 0.0)
                await connection.execute(LANED, *row)
            for statement in more:
                await connection.execute(statement)
            await connection.close()

        asyncio.run(run())


@pytest.fixture
def laned(folder: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Laned:
    """Lane 1 stands behind a dead one, 2 behind one that runs, in 3 an old one came while a younger one runs."""
    assert folder == Path.cwd()
    monkeypatch.setenv("RECEIVER_DATABASE_URL", database_url)
    made = Laned(database_url)
    made.add("blocker", "dead", lane=1, at=5, blocks=True)
    made.add("blocked", "waiting", lane=1, at=6)
    made.add("blocked too", "waiting", lane=1, at=7, deferrals=2)
    made.add("older", "ready", lane=1, at=4)
    made.add("runs", "leased", lane=2, at=1)
    made.add("next", "waiting", lane=2, at=2)
    made.add("late", "waiting", lane=3, at=1)
    made.add("younger", "leased", lane=3, at=2)
    made.add("passed", "dead", lane=4)
    made.add("alone", "ready", lane=None)
    made.store(
        f"INSERT INTO receiver.lane VALUES (3, 'pay', '2025-05-05 12:00:01.5Z', '{made.ids['alone']}'),"
        f" (2, 'pay', '2025-05-05 12:00:01Z', '{uuid.UUID(int=0)}')"
    )
    return made


@pytest.mark.parametrize(
    ("name", "ahead", "text"),
    [
        ("blocker", None, "  blocks its lane until it is replayed"),
        ("blocked", ("older", "ready"), "  waits for the event {older} of its lane, which is ready"),
        ("next", ("runs", "leased"), "  waits for the event {runs} of its lane, which is leased"),
        ("late", ("younger", "leased"), "  waits for the event {younger} of its lane, which is leased"),
        ("late", ("younger", "leased"), "  late: a later event of its lane has been handled"),
        ("blocked too", ("older", "ready"), "  deferred 2 times since 2025-05-05 12:00:00Z"),
        ("runs", None, None),
        ("alone", None, None),
        ("passed", None, None),
    ],
)
def test_an_event_shows_what_it_waits_for(
    laned: Laned, cli: Cli, name: str, ahead: tuple[str, str] | None, text: str | None
) -> None:
    shown = cli("events", "show", laned.ids[name], "--json").fields()["dispatches"]
    assert isinstance(shown, list)
    (dispatch,) = shown
    assert dispatch["waits_for"] == (None if ahead is None else {"id": laned.ids[ahead[0]], "state": ahead[1]})
    assert dispatch["blocks"] == (name == "blocker")
    assert dispatch["late"] == {"late": True, "alone": None, "passed": None, "blocker": None}.get(name, False)
    assert (dispatch["deferrals"], dispatch["deferred_at"] is None) == (
        (2, False) if name == "blocked too" else (0, True)
    )
    facts = {"blocks", "waits", "late:", "deferred"}
    told = [line for line in cli("events", "show", laned.ids[name]).out.splitlines() if facts & set(line.split()[:1])]
    assert told == [] if text is None else text.format(**laned.ids) in told


def test_what_is_dead_says_what_it_holds_up(laned: Laned, cli: Cli) -> None:
    rows = {row["id"]: (row["blocks"], row["behind"]) for row in cli("dead", "list", "--json").rows()}
    assert rows == {laned.ids["blocker"]: (True, 2), laned.ids["passed"]: (False, 0)}
    said = [line.split() for line in cli("dead", "list").out.splitlines()]
    assert {line[0]: line[-2] for line in said[1:]} == {laned.ids["blocker"]: "2", laned.ids["passed"]: "-"}


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
