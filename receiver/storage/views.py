"""What operators read: events with their state, one event's timeline, what is dead, sums. Nothing here writes."""

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from receiver.events import Trust
from receiver.storage import states
from receiver.storage.confirmations import Outcome
from receiver.storage.engine import Connection
from receiver.storage.partitions import first_id

State = Literal["dead", "retrying", "pending", "succeeded", "unhandled"]
"""An event's state, the worst of its dispatches'; `unhandled`: no handler wanted it."""

_SLACK: Final = dt.timedelta(days=1)
"""Ids carry the time of the program that made them, `received_at` that of the database."""


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One event in a list."""

    id: uuid.UUID
    source: str
    provider: str
    external_id: str
    type: str | None
    entity_id: str | None
    livemode: bool | None
    trust: Trust
    """What vouches for it."""
    state: State
    duplicates: int
    """Further deliveries of the same event, counted within a second or so."""
    occurred_at: dt.datetime | None
    received_at: dt.datetime


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a dispatch."""

    number: int
    """From 1; a replay begins anew."""
    outcome: str
    reason: str | None
    error: str | None
    trigger: str
    worker: str
    started_at: dt.datetime
    finished_at: dt.datetime


class Ahead(msgspec.Struct, frozen=True, kw_only=True):
    """The dispatch of the same handler that another one waits for."""

    id: uuid.UUID
    """Its event's."""
    state: states.State


class DispatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one handler was owed, and every run of it."""

    handler: str
    state: states.State
    attempts: int
    reason: str | None
    due_at: dt.datetime
    """While `ready` the next run, while `leased` the lease's end, else the time of the outcome."""
    deferrals: int
    """How often its handler has said `NotYet`,"""
    deferred_at: dt.datetime | None
    """and when for the first time."""
    waits_for: Ahead | None
    """While `waiting`: what must be done first."""
    blocks: bool
    """It is dead, and its lane waits for its replay."""
    late: bool | None
    """Unfinished, and a later event of its lane has been handled already; None: finished, or in no lane."""
    outcomes: tuple[AttemptRow, ...]


class ConfirmationRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the source's confirmation said of an event."""

    outcome: Outcome
    asked: int
    """How often."""
    at: dt.datetime
    until: dt.datetime | None
    """While `waiting`: when it is asked again, at the earliest."""
    reason: str | None
    once: str | None
    data: msgspec.Raw | None
    """What handlers are given."""


class StoredBody(msgspec.Struct, frozen=True, kw_only=True):
    """What an event was stored with, beside its row."""

    headers: dict[str, str]
    body: bytes


class DeadRow(msgspec.Struct, frozen=True, kw_only=True):
    """One dispatch that waits for a replay."""

    id: uuid.UUID
    """The event's."""
    handler: str
    source: str | None
    """None, as are the event's other columns, where retention has dropped the event."""
    type: str | None
    external_id: str | None
    entity_id: str | None
    attempts: int
    reason: str | None
    error: str | None
    """What the last run ended with."""
    died_at: dt.datetime
    blocks: bool
    """Its lane waits for its replay;"""
    behind: int
    """how many dispatches wait there, counted up to `MOST_BEHIND`."""


class Blocking(msgspec.Struct, frozen=True, kw_only=True):
    """Dead dispatches of one handler whose lanes wait for their replay."""

    handler: str
    dead: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over everything that is stored."""

    accepted: int
    """Events."""
    duplicates: int
    quarantined: int
    succeeded: int
    """Dispatches, as all that follow."""
    retrying: int
    pending: int
    dead: int


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to list; None leaves a column alone."""

    source: str | None = None
    type: str | None = None
    state: State | None = None
    since: dt.datetime | None = None
    """Received at that time or later; aware."""
    limit: int = 50


_COLUMNS: Final = f"""
SELECT e.id, e.source, e.provider, e.external_id, e.type, e.entity_id, e.livemode, e.trust, s.state,
       coalesce(k.duplicates, 0) AS duplicates, e.occurred_at, e.received_at
FROM receiver.event AS e
LEFT JOIN receiver.dedup_key AS k ON k.key = e.key AND k.event_id = e.id
CROSS JOIN LATERAL (
    SELECT CASE WHEN bool_or(state = 'dead') THEN 'dead'
                WHEN bool_or({states.retrying("d")}) THEN 'retrying'
                WHEN bool_or(state IN ({states.quoted(states.UNFINISHED)})) THEN 'pending'
                WHEN bool_or(state = 'succeeded') THEN 'succeeded'
                ELSE 'unhandled' END AS state
    FROM receiver.dispatch AS d WHERE event_id = e.id
) AS s
"""

_LIST: Final = (
    _COLUMNS
    + """
WHERE ($1::text IS NULL OR e.source = $1) AND ($2::text IS NULL OR e.type = $2) AND ($3::text IS NULL OR s.state = $3)
  AND ($4::timestamptz IS NULL OR e.received_at >= $4) AND ($5::uuid IS NULL OR e.id >= $5) {narrowed}
ORDER BY e.id DESC LIMIT $6
"""
)

_OF_UNFINISHED: Final = (
    f"AND e.id IN (SELECT event_id FROM receiver.dispatch WHERE state IN ({states.quoted(states.UNFINISHED)}))"
)
# Few events have such a dispatch, and partial indexes find them; without this all newer events would be looked at.
_NARROWED: Final = {
    "dead": "AND e.id IN (SELECT event_id FROM receiver.dispatch WHERE state = 'dead')",
    "retrying": _OF_UNFINISHED,
    "pending": _OF_UNFINISHED,
}

_BY_ID: Final = _COLUMNS + "WHERE e.id = $1"
_BY_EXTERNAL_ID: Final = _COLUMNS + "WHERE e.external_id = $1 ORDER BY e.id DESC LIMIT $2"
_BODY: Final = "SELECT headers::text AS headers, body FROM receiver.event WHERE id = $1"

# One waits for the head of its lane, or if it is the head itself, for a younger one that was leased before it came.
_DISPATCHES: Final = """
SELECT d.handler, d.state, d.attempts, d.reason, d.due_at, d.deferrals, d.deferred_at, d.blocks,
       CASE WHEN d.lane IS NOT NULL AND d.state IN ('ready', 'waiting', 'leased')
            THEN coalesce((l.handled_at, l.event_id) > (d.lane_at, d.event_id), false) END AS late,
       ahead.event_id AS ahead_id, ahead.state AS ahead_state
FROM receiver.dispatch AS d LEFT JOIN receiver.lane AS l USING (lane)
LEFT JOIN LATERAL (
    SELECT * FROM (
        (SELECT 1 AS turn, event_id, state FROM receiver.dispatch
         WHERE lane = d.lane AND (state IN ('ready', 'waiting', 'leased') OR blocks)
         ORDER BY lane_at, event_id LIMIT 1)
        UNION ALL
        (SELECT 2, event_id, state FROM receiver.dispatch WHERE lane = d.lane AND state = 'leased')
    ) AS found WHERE event_id <> d.event_id ORDER BY turn LIMIT 1
) AS ahead ON d.state = 'waiting'
WHERE d.event_id = $1 ORDER BY d.handler
"""
_ATTEMPTS: Final = """
SELECT handler, number, outcome, reason, error, trigger, worker, started_at, finished_at
FROM receiver.every_attempt WHERE event_id = $1 ORDER BY handler, epoch
"""

_CONFIRMATION: Final = """
SELECT outcome, asked, at, until, reason, once, data::text AS data FROM receiver.confirmation WHERE event_id = $1
"""

MOST_BEHIND: Final = 1_000

_DEAD: Final = f"""
SELECT d.event_id AS id, d.handler, e.source, e.type, e.external_id, e.entity_id, d.attempts,
       coalesce(d.reason, a.reason) AS reason, a.error, coalesce(a.finished_at, d.due_at) AS died_at,
       d.blocks, CASE WHEN d.blocks THEN (SELECT count(*) FROM (
           SELECT FROM receiver.dispatch AS w
           WHERE w.lane = d.lane AND w.state IN ('ready', 'waiting', 'leased')
             AND (w.lane_at, w.event_id) > (d.lane_at, d.event_id)
           LIMIT {MOST_BEHIND}
       ) AS counted) ELSE 0 END AS behind
FROM (SELECT * FROM receiver.dispatch
      WHERE state = 'dead' AND ($1::text IS NULL OR handler = $1) ORDER BY due_at DESC LIMIT $2) AS d
LEFT JOIN receiver.event AS e ON e.id = d.event_id
LEFT JOIN LATERAL (SELECT reason, error, finished_at FROM receiver.attempt
                   WHERE event_id = d.event_id AND handler = d.handler ORDER BY epoch DESC LIMIT 1) AS a ON true
ORDER BY d.due_at DESC
"""

_BLOCKING: Final = """
SELECT handler, count(*) AS dead FROM receiver.dispatch WHERE state = 'dead' AND blocks GROUP BY handler ORDER BY 1
"""

_TOTALS: Final = f"""
SELECT (SELECT count(*) FROM receiver.event) AS accepted,
       (SELECT coalesce(sum(duplicates), 0) FROM receiver.dedup_key)::bigint AS duplicates,
       (SELECT count(*) FROM receiver.quarantine) AS quarantined,
       count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
       count(*) FILTER (WHERE {states.retrying("d")}) AS retrying,
       count(*) FILTER (WHERE state IN ({states.quoted(states.UNFINISHED)}) AND NOT {states.retrying("d")}) AS pending,
       count(*) FILTER (WHERE state = 'dead') AS dead
FROM receiver.dispatch AS d
"""


async def events(connection: Connection, wanted: Filter) -> list[EventRow]:
    """The newest events that fit, newest first."""
    query = _LIST.replace("{narrowed}", _NARROWED.get(wanted.state or "", ""))
    lowest = first_id(wanted.since, -_SLACK) if wanted.since else None
    rows = await connection.fetch(query, wanted.source, wanted.type, wanted.state, wanted.since, lowest, wanted.limit)
    return msgspec.convert([dict(row) for row in rows], list[EventRow])


async def event_by_id(connection: Connection, event_id: uuid.UUID) -> EventRow | None:
    """The event with our own id."""
    row = await connection.fetchrow(_BY_ID, event_id)
    return None if row is None else msgspec.convert(dict(row), EventRow)


async def events_by_external_id(connection: Connection, external_id: str, limit: int) -> list[EventRow]:
    """Events with the provider's id, newest first. No index serves this: it reads every event."""
    rows = await connection.fetch(_BY_EXTERNAL_ID, external_id, limit)
    return msgspec.convert([dict(row) for row in rows], list[EventRow])


async def stored_body(connection: Connection, event_id: uuid.UUID) -> StoredBody | None:
    """The headers and the raw bytes that an event was stored with."""
    row = await connection.fetchrow(_BODY, event_id)
    if row is None:
        return None
    return StoredBody(headers=msgspec.json.decode(row["headers"], type=dict[str, str]), body=row["body"])


async def confirmation(connection: Connection, event_id: uuid.UUID) -> ConfirmationRow | None:
    """What was confirmed of the event, or was not; None: nobody has asked."""
    row = await connection.fetchrow(_CONFIRMATION, event_id)
    if row is None:
        return None
    fields = dict(row)
    data = fields.pop("data")
    return ConfirmationRow(**fields, data=None if data is None else msgspec.Raw(data.encode()))


async def dispatches(connection: Connection, event_id: uuid.UUID) -> tuple[DispatchRow, ...]:
    """What the event's handlers were owed, each with all of its runs in their order."""
    runs: dict[str, list[AttemptRow]] = {}
    for row in await connection.fetch(_ATTEMPTS, event_id):
        fields = dict(row)
        runs.setdefault(fields.pop("handler"), []).append(msgspec.convert(fields, AttemptRow))
    found = [dict(row) for row in await connection.fetch(_DISPATCHES, event_id)]
    for fields in found:
        ahead = {"id": fields.pop("ahead_id"), "state": fields.pop("ahead_state")}
        fields["waits_for"] = ahead if ahead["id"] else None
        fields["outcomes"] = runs.get(fields["handler"], [])
    return msgspec.convert(found, tuple[DispatchRow, ...])


async def dead(connection: Connection, handler: str | None, limit: int) -> Sequence[DeadRow]:
    """Dead dispatches, of one handler or of all; the last to die first."""
    rows = await connection.fetch(_DEAD, handler, limit)
    return msgspec.convert([dict(row) for row in rows], list[DeadRow])


async def blocking(connection: Connection) -> Sequence[Blocking]:
    """What is dead and blocks its lane, by handler. Reads all that is dead."""
    return msgspec.convert([dict(row) for row in await connection.fetch(_BLOCKING)], list[Blocking])


async def totals(connection: Connection) -> Totals:
    """Sums over all tables: it reads them whole."""
    row = await connection.fetchrow(_TOTALS)
    return msgspec.convert(dict(row or {}), Totals)
