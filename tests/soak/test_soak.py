"""The soak itself: its rules see what they are for, and a short one runs from start to verdict."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from receiver.storage.engine import Connection
from tests.faults import oracle
from tests.soak import verdict
from tests.soak.shop import TABLES

ROOT = Path(__file__).parents[2]
SCENE = """
INSERT INTO receiver.event (id, key, source, provider, external_id, type, headers, body, received_at)
SELECT id, decode(md5(id::text), 'hex'), 'stripe', 'stripe', 'evt_' || n, 'charge.succeeded', '{}', '{}',
    now() - interval '1 hour'
FROM unnest(ARRAY[id_of(1), id_of(2)]) WITH ORDINALITY AS given(id, n);
INSERT INTO receiver.dedup_key (key, event_id) SELECT key, id FROM receiver.event;
INSERT INTO receiver.dispatch (event_id, handler, state, epoch, attempts, lane, lane_at)
SELECT id, handler, 'succeeded', 1, 1, CASE handler WHEN 'keep_account' THEN 7 END,
    CASE handler WHEN 'keep_account' THEN received_at END
FROM receiver.event, unnest(ARRAY['keep_account', 'take_stock', 'count_alone', 'count_together',
    'list_together']) AS handler;
UPDATE receiver.dispatch SET
    started_at = now() + CASE event_id WHEN id_of(1) THEN interval '0' ELSE interval '2 seconds' END,
    finished_at = now() + CASE event_id WHEN id_of(1) THEN interval '1 second' ELSE interval '3 seconds' END;
INSERT INTO effect (handler, event_id, late, worker)
SELECT handler, event_id, false, 1 FROM receiver.dispatch ORDER BY event_id;
UPDATE stock SET taken = 4 WHERE id = 1;
"""
"""Two events of one payment, handled once each, in order."""
ID_OF = """
CREATE FUNCTION id_of(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT ('01890000-0000-7000-8000-00000000000' || n)::uuid $$
"""
EFFECT = "INSERT INTO effect (handler, event_id, late, worker) VALUES"
SECOND = "event_id = id_of(2)"
BREAKS = {
    "acknowledged, not stored": "DELETE FROM receiver.event",
    "stored twice": "UPDATE receiver.event SET external_id = 'evt_1'",
    "a key without its event": f"DELETE FROM receiver.dedup_key WHERE {SECOND}",
    "not one effect for each success": f"DELETE FROM effect WHERE {SECOND} AND handler = 'keep_account'",
    "such as ('01890000-0000-7000-8000-000000000002', 'keep_account', 'succeeded', '2')": (
        f"{EFFECT} ('keep_account', id_of(2), false, 1)"
    ),
    "an effect that nobody was owed": f"{EFFECT} ('book', id_of(2), false, 1)",
    "not one record for each success": f"UPDATE receiver.dispatch SET started_at = NULL WHERE {SECOND}",
    "unfinished": f"UPDATE receiver.dispatch SET state = 'ready' WHERE {SECOND}",
    "dead": f"UPDATE receiver.dispatch SET state = 'dead' WHERE {SECOND}",
    "out of order and not called late": (
        "UPDATE receiver.dispatch SET lane_at = lane_at + interval '1 day' WHERE event_id = id_of(1) AND lane = 7"
    ),
    "or late and in order": f"UPDATE effect SET late = true WHERE {SECOND} AND handler = 'keep_account'",
    "late although it had long been there": (
        "UPDATE receiver.dispatch SET lane_at = lane_at + interval '1 day' WHERE event_id = id_of(1) AND lane = 7;"
        f"UPDATE effect SET late = true WHERE {SECOND} AND handler = 'keep_account'"
    ),
    "two of one lane at once": f"UPDATE receiver.dispatch SET started_at = now() WHERE {SECOND}",
    "stock taken twice": "UPDATE stock SET taken = taken + 2 WHERE id = 2",
    "called outside under two keys": "INSERT INTO outside VALUES (id_of(1), 'a'), (id_of(1), 'b')",
    "or not at all": f"{EFFECT} ('call_outside', id_of(2), false, 1)",
    "emitted twice or not at all": "UPDATE receiver.event SET source = 'internal'",
    "owed to": f"DELETE FROM receiver.dispatch WHERE {SECOND} AND handler = 'take_stock'",
    "in quarantine": (
        "INSERT INTO receiver.quarantine (id, source, provider, reason, digest, headers, body)"
        " VALUES (id_of(3), 'stripe', 'stripe', 'odd', '', '{}', '')"
    ),
}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Connection]:
    """A small one in which all is well."""
    connection = await asyncpg.connect(database_url)
    for sql in (TABLES, ID_OF, SCENE):
        await connection.execute(sql)
    yield connection
    await connection.close()


async def wrong_in(world: Connection) -> list[str]:
    async def query(sql: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await world.fetch(sql)]

    return await verdict.wrong(query, {"evt_1", "evt_2"})


async def wrong_after(world: Connection, sql: str) -> list[str]:
    """What is found after a change, which is then undone."""
    change = world.transaction()
    await change.start()
    await world.execute(sql)
    found = await wrong_in(world)
    await change.rollback()
    return found


async def test_each_rule_sees_what_it_is_for(world: Connection) -> None:
    assert await wrong_in(world) == []
    found = {rule: await wrong_after(world, sql) for rule, sql in BREAKS.items()}
    assert {rule: wrong for rule, wrong in found.items() if not any(rule in one for one in wrong)} == {}


def test_every_rule_was_broken() -> None:
    rules = [*oracle.RULES, *verdict.RULES, "dead"]
    assert [rule for rule in rules if not any(name in rule or rule in name for name in BREAKS)] == [
        "a replay that did not end"
    ]


@pytest.mark.timeout(240)
def test_a_short_one() -> None:
    """Five programs, a few hundred callbacks, some faults; all is in order at its end."""
    options = ["--minutes", "0.1", "--callbacks", "300", "--seed", "5"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    assert "nothing lost, nothing doubled" in done.stdout
