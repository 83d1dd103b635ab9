"""The judge notes every change that is not in the table of transitions, and names those that are."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from receiver.storage.states import ACTIVE, TRANSITIONS, UNFINISHED, Actor, Attempts, State, Transition, quoted
from tests import judge
from tests.databases import Databases

SCENE = """
INSERT INTO receiver.dispatch (event_id, handler, state, epoch, attempts, due_at, worker, leased_at, lane, lane_at)
VALUES ($1, 'pay', $2, 5, 2, now() + $3::float8 * interval '1 second', 'w1', now() - interval '1 minute', 7, now())
"""
STORED = "INSERT INTO receiver.dispatch (event_id, handler) VALUES ($1, 'pay')"
NOTED = "SELECT transitions, wrong FROM judge.change"
LEASE = "state = 'leased', leased_at = now(), due_at = now() + interval '1 minute'"
NEXT = {Attempts.KEPT: "attempts", Attempts.COUNTED: "attempts + 1", Attempts.UNCOUNTED: "attempts - 1"}
STEPS = [
    pytest.param(each, before, attempts, id=f"{each.name}-{before}-{attempts}")
    for each in TRANSITIONS
    for before in sorted(each.before)
    for attempts in sorted(each.attempts)
]
WRONG = [
    ("ready", "state = 'succeeded'", "no such transition"),
    ("ready", "state = 'dead'", "no such transition"),
    ("ready", f"{LEASE}, epoch = epoch + 1", "no such transition"),
    ("ready", f"{LEASE}, attempts = attempts + 1", "no such transition"),
    ("ready", f"{LEASE}, attempts = attempts + 1, epoch = epoch + 2", "no such transition"),
    ("ready", f"{LEASE}, attempts = attempts + 1, epoch = epoch + 1, worker = NULL", "leased by nobody"),
    ("ready", "state = 'leased', attempts = attempts + 1, epoch = epoch + 1, due_at = now() - interval '1 minute'",
     "a lease that has ended before it began"),
    ("waiting", "state = 'succeeded'", "no such transition"),
    ("leased", "state = 'succeeded', epoch = epoch + 1", "no such transition"),
    ("leased", "state = 'succeeded', epoch = epoch - 1", "no such transition"),
    ("leased", "state = 'succeeded', attempts = attempts - 1", "no such transition"),
    ("leased", "state = 'succeeded', blocks = true", "blocks and is not dead"),
    ("leased", "state = 'ready', attempts = attempts - 2", "no such transition"),
    ("leased", f"{LEASE}, epoch = epoch + 1, attempts = attempts + 1", "no such transition"),
    ("leased", "state = 'ready', lane = 8", "what names it changed"),
    ("leased", "state = 'ready', trigger = 'manual'", "manual without a replay"),
    ("leased", "state = 'ready', attempts = 0, epoch = epoch + 1", "no such transition"),
    ("waiting", "state = 'ready', attempts = 0, epoch = epoch + 1", "no such transition"),
    ("succeeded", "reason = 'x'", "no such transition"),
    ("succeeded", f"{LEASE}, epoch = epoch + 1, attempts = attempts + 1", "no such transition"),
    ("succeeded", "state = 'ready', attempts = 0", "no such transition"),
    ("dead", "state = 'ready', epoch = epoch + 1", "no such transition"),
    ("dead", f"{LEASE}, epoch = epoch + 1, attempts = 1", "no such transition"),
]  # fmt: skip


@pytest.fixture(scope="module")
def judged_url(databases: Databases) -> str:
    """One database for all cases: each is rolled back."""
    url = databases.make_migrated()

    async def seat() -> None:
        connection = await asyncpg.connect(url)
        await judge.seat(connection)
        await connection.close()

    asyncio.run(seat())
    return url


@pytest.fixture
async def connection(judged_url: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(judged_url)
    transaction = opened.transaction()
    await transaction.start()
    try:
        yield opened
        await transaction.rollback()
    finally:
        await opened.close()


async def change(connection: asyncpg.Connection, before: str, done: str, seconds: float = 60) -> tuple[list[str], ...]:
    """Set a scene in state `before`, which is due in `seconds`; change it; what was noted of that."""
    await connection.execute("SET LOCAL judge.scene = 'on'")
    await connection.execute(SCENE, uuid.uuid4(), before, seconds)
    await connection.execute("SET LOCAL judge.scene = 'off'")
    await connection.execute(f"UPDATE receiver.dispatch SET {done}")
    (noted,) = await connection.fetch(NOTED)
    return noted["transitions"], noted["wrong"]


@pytest.mark.parametrize(("transition", "before", "attempts"), STEPS)
async def test_each_transition_passes_by_its_name(
    connection: asyncpg.Connection, transition: Transition, before: State, attempts: Attempts
) -> None:
    done = (
        f"state = '{transition.after}', epoch = epoch + {int(transition.rises)}, attempts = {NEXT.get(attempts, '0')}"
    )
    if transition.rises and transition.after is State.LEASED:
        done += ", leased_at = now(), due_at = now() + interval '1 minute'"
    seconds = 0 if transition.at_once else -1 if transition.expired else 60
    names, wrong = await change(connection, before, done, seconds)
    assert wrong == []
    assert transition.name in names


async def test_what_is_stored_is_ready(connection: asyncpg.Connection) -> None:
    await connection.execute(STORED, uuid.uuid4())
    assert [tuple(row) for row in await connection.fetch(NOTED)] == [(["stored"], [])]


@pytest.mark.parametrize(("before", "done", "wrong"), WRONG)
async def test_what_is_no_transition_is_noted(
    connection: asyncpg.Connection, before: str, done: str, wrong: str
) -> None:
    _, noted = await change(connection, before, done)
    assert wrong in noted


async def test_what_is_deleted_is_noted(connection: asyncpg.Connection) -> None:
    await connection.execute(STORED, uuid.uuid4())
    await connection.execute("DELETE FROM receiver.dispatch")
    assert [tuple(row) for row in await connection.fetch(NOTED)] == [(["stored"], []), (None, ["deleted"])]


async def test_what_is_committed_wrongly_is_told(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await judge.seat(connection)
    await connection.execute(STORED, uuid.uuid4())
    assert await judge.verdicts(database_url) == []
    await connection.execute("UPDATE receiver.dispatch SET state = 'dead'")
    assert len(await judge.verdicts(database_url)) == 1
    await connection.close()


def test_names_are_of_one_transition_each() -> None:
    assert len({each.name for each in TRANSITIONS}) == len(TRANSITIONS)


def test_only_a_worker_runs_anything_and_only_from_a_lease_does_anything_end() -> None:
    for each in TRANSITIONS:
        if each.after in {State.SUCCEEDED, State.DEAD}:
            assert each.by is Actor.WORKER
            assert set(each.before) == {State.LEASED} or each.name in {"finished", "disowned"}
        if each.after is State.LEASED:
            assert each.by is Actor.WORKER


def test_no_state_is_a_trap_and_none_is_out_of_reach() -> None:
    reached: set[State] = set()
    for _ in State:
        reached |= {each.after for each in TRANSITIONS if not each.before or each.before & reached}
    assert reached == set(State)
    for state in State:
        assert any(state in each.before and each.after is not state for each in TRANSITIONS)


def test_lists_for_sql() -> None:
    assert quoted(UNFINISHED) == "'ready', 'waiting', 'leased'"
    assert quoted(ACTIVE) == "'ready', 'leased'"
