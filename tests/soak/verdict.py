"""What a soak came to: the oracle of all fault tests, and what only a shop like the soak's can tell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests import judge
from tests.faults import oracle
from tests.soak.shop import STOCK, receiver

PATIENCE: Final = 20
"""Seconds from an event's arrival to its commit, at most: tables are locked and PostgreSQL is frozen meanwhile."""

_PLACED: Final = """
WITH placed AS (
    SELECT e.seq, e.handler, e.event_id, e.late, d.lane, d.place, a.started_at, a.finished_at, v.received_at,
        max(d.place) OVER before AS newest_before,
        lag(a.finished_at) OVER (PARTITION BY d.lane ORDER BY e.seq) AS previous_finished_at
    FROM effect e JOIN (
        SELECT *, to_char(lane_at AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS') || event_id::text COLLATE "C" AS place
        FROM receiver.dispatch
    ) d USING (event_id, handler)
    JOIN receiver.every_attempt a ON (a.event_id, a.handler, a.outcome) = (e.event_id, e.handler, 'succeeded')
    JOIN receiver.event v ON v.id = e.event_id
    WHERE d.lane IS NOT NULL
    WINDOW before AS (PARTITION BY d.lane ORDER BY e.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
"""
RULES: Final[Mapping[str, str]] = {
    "out of order and not called late, or late and in order": f"""
        {_PLACED}
        SELECT handler, lane, event_id, late, newest_before FROM placed
        WHERE late <> coalesce(newest_before > place, false)
    """,
    "two of one lane at once": f"""
        {_PLACED}
        SELECT handler, lane, event_id, started_at, previous_finished_at FROM placed
        WHERE started_at < previous_finished_at
    """,
    "late although it had long been there": f"""
        {_PLACED}
        SELECT p.handler, p.lane, p.event_id, p.received_at, n.event_id, n.started_at FROM placed p
        JOIN placed n ON n.lane = p.lane AND n.seq < p.seq AND n.place > p.place
        WHERE n.started_at > p.received_at + interval '{PATIENCE} seconds' AND NOT EXISTS (
            SELECT FROM receiver.every_attempt a
            WHERE a.event_id = p.event_id AND a.handler = p.handler AND a.outcome = 'dead'
        )
    """,
    "stock taken twice or not at all": f"""
        SELECT taken, owed FROM (SELECT sum(taken) AS taken FROM stock) s,
            (SELECT {STOCK} * count(*) AS owed FROM effect WHERE handler = 'take_stock') e
        WHERE taken <> owed
    """,
    "emitted twice or not at all": """
        SELECT booked, emitted FROM (SELECT count(*) AS booked FROM effect WHERE handler = 'book') b,
            (SELECT count(*) AS emitted FROM receiver.event WHERE source = 'internal') e
        WHERE booked <> emitted
    """,
    "called outside under two keys, or not at all": """
        SELECT event_id, count(DISTINCT key) FROM (
            SELECT event_id FROM outside UNION SELECT event_id FROM effect WHERE handler = 'call_outside'
        ) AS called LEFT JOIN outside USING (event_id) GROUP BY event_id HAVING count(DISTINCT key) <> 1
    """,
    "a replay that did not end": "SELECT id, state, matched, looked_at FROM receiver.replay WHERE state <> 'done'",
    "in quarantine": "SELECT source, reason, external_id FROM receiver.quarantine",
}
OWED: Final = """
SELECT DISTINCT source, provider, type, (
    SELECT coalesce(array_agg(handler ORDER BY handler), '{}') FROM receiver.dispatch d WHERE d.event_id = e.id
) FROM receiver.event e
"""
FAULTS_OF_OURS: Final = ("slot_failed", "flush_failed", "Traceback", "never retrieved", "never awaited")
"""In the log of a program."""


async def transitions(database_url: str) -> list[str]:
    """Changes of a dispatch that may not be, in words."""
    return [f"no such transition: {verdict}" for verdict in await judge.verdicts(database_url)]


async def wrong(query: oracle.Query, acknowledged: set[str]) -> list[str]:
    """What is wrong in the database, in words."""
    found = await oracle.violations(query, acknowledged)
    for rule, sql in RULES.items():
        if rows := await query(sql):
            found.append(oracle.tell(rule, rows))
    for source, provider, kind, handlers in await query(OWED):
        wanted = receiver.handlers.wanting(str(source), str(provider), None if kind is None else str(kind))
        if handlers != sorted(handler.name for handler in wanted):
            found.append(f"{source} {kind}: owed to {handlers}")
    return found


def complaints(logs: Sequence[Path]) -> list[str]:
    """What programs say of faults of ours."""
    found: list[str] = []
    for log in logs:
        lines = log.read_text(errors="replace").splitlines()
        found += [f"{log}: {line[:300]}" for line in lines if any(word in line for word in FAULTS_OF_OURS)]
    return found
