"""Which dispatches a replay means, found page by page: no statement looks at more rows than its page has.

A page goes on behind a cursor in the order of (event id, handler), which is the order of arrival. What is dead has an
index in that order; for the rest the primary key is walked. Nothing is sorted and nothing is held.
"""

import datetime as dt
import uuid
from typing import Final, Literal, TypeAlias

import msgspec

from receiver.storage.engine import Connection
from receiver.storage.partitions import first_id
from receiver.storage.states import retrying

ReplayState: TypeAlias = Literal["dead", "retrying", "succeeded"]

_SLACK: Final = dt.timedelta(days=1)
"""Ids carry the time of the program that made them, `received_at` that of the database."""

# A replay takes only what waits for nothing else: what is leased is run or will be claimed by its own clock, and what
# waits for its lane must not get past it. What succeeded after the job had been asked for was not meant; of a run that
# was over in an instant only the beginning is recorded.
FITS: Final = {
    "dead": "{row}.state = 'dead'",
    "retrying": retrying("{row}"),
    "succeeded": (
        "{row}.state = 'succeeded' AND ($12::timestamptz IS NULL OR coalesce({row}.finished_at, {row}.due_at) <= $12)"
    ),
}

PAGE: Final = """
page AS MATERIALIZED (
    SELECT d.event_id, d.handler, d.state, d.attempts, d.reason, d.due_at, d.finished_at
    FROM receiver.dispatch AS d
    WHERE (d.event_id, d.handler) > ($1, $2) AND d.event_id <= $3 {narrowed}
    ORDER BY d.event_id, d.handler
    LIMIT $4
), fitting AS MATERIALIZED (
    SELECT p.event_id, p.handler, p.state, p.reason, e.source, e.type, e.entity_id, e.received_at
    FROM page AS p JOIN receiver.event AS e ON e.id = p.event_id
    WHERE {fits} AND ($5::text IS NULL OR p.handler = $5) AND ($6::text IS NULL OR p.reason = $6)
      AND ($7::text IS NULL OR e.source = $7) AND ($8::text IS NULL OR e.type = $8)
      AND ($9::timestamptz IS NULL OR e.received_at >= $9) AND ($10::timestamptz IS NULL OR e.received_at < $10)
      AND ($12::timestamptz IS NULL OR e.received_at <= $12)
    ORDER BY p.event_id, p.handler
    LIMIT $11
)"""

_COUNT: Final = """
WITH {page}
SELECT (SELECT count(*) FROM page) AS looked_at, (SELECT count(*) FROM fitting) AS fitting,
       last.event_id, last.handler
FROM (VALUES (1)) AS one LEFT JOIN
     (SELECT event_id, handler FROM page ORDER BY event_id DESC, handler DESC LIMIT 1) AS last ON true
"""
_SAMPLE: Final = """
WITH {page}
SELECT event_id, handler, state, reason, source, type, entity_id, received_at FROM fitting
ORDER BY event_id, handler
"""

# What a handler may be owed and is not; only its worker knows which of them it wants.
_COUNT_MISSING: Final = """
WITH page AS MATERIALIZED (
    SELECT id, source, type, received_at FROM receiver.event WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3
)
SELECT count(*) AS looked_at, (SELECT id FROM page ORDER BY id DESC LIMIT 1) AS last,
       count(*) FILTER (WHERE ($5::text IS NULL OR source = $5) AND ($6::text IS NULL OR type = $6)
                          AND ($7::timestamptz IS NULL OR received_at >= $7)
                          AND ($8::timestamptz IS NULL OR received_at < $8)
                          AND NOT EXISTS (SELECT FROM receiver.dispatch AS d
                                          WHERE d.event_id = page.id AND d.handler = $4)) AS missing
FROM page
"""

_ENDS: Final = """
SELECT (SELECT id FROM receiver.event WHERE id >= $1 ORDER BY id LIMIT 1) AS first,
       (SELECT id FROM receiver.event WHERE id >= $1 ORDER BY id DESC LIMIT 1) AS last
"""


class Selection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which dispatches are meant; None leaves a column alone.

    Kept as JSON in a job. An unknown field, of a newer version, is an error: to leave it out would replay more.
    """

    state: ReplayState
    handler: str | None = None
    reason: str | None = None
    source: str | None = None
    type: str | None = None
    received_after: dt.datetime | None = None
    """Received at that time or later; aware."""
    received_before: dt.datetime | None = None
    """Received earlier than that; aware."""
    creates: bool = False
    """Also what `handler` wants and was never owed: events that were stored when it was not there."""


class Cursor(msgspec.Struct, frozen=True):
    """All up to this one has been looked at."""

    event_id: uuid.UUID
    handler: str = ""


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """A part of all dispatches, from behind a cursor to an event; what arrives later is not in it."""

    after: Cursor
    last: uuid.UUID
    until: dt.datetime | None = None
    """When it was asked for: what arrived later is not in it, even with an id below the last; None: by now."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """One page, counted."""

    fitting: int
    end: Cursor | None
    """Where the next page begins; None: there is none."""


class SampleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One dispatch that fits."""

    event_id: uuid.UUID
    handler: str
    state: str
    reason: str | None
    source: str
    type: str | None
    entity_id: str | None
    received_at: dt.datetime


def page(selection: Selection) -> str:
    """The common table expressions `page` and `fitting`; `values` has their parameters."""
    narrowed = "AND d.state = 'dead'" if selection.state == "dead" else ""
    return PAGE.format(narrowed=narrowed, fits=FITS[selection.state].format(row="p"))


def values(selection: Selection, span: Range, look: int, most: int) -> tuple[object, ...]:
    """The parameters of `page`.

    Args:
        selection: what is meant.
        span: from behind what was looked at to the end.
        look: rows to look at.
        most: rows that may fit; those behind them are left to the next page.
    """
    wanted = selection
    columns = (wanted.handler, wanted.reason, wanted.source, wanted.type, wanted.received_after, wanted.received_before)
    return (span.after.event_id, span.after.handler, span.last, look, *columns, most, span.until)


async def whole(connection: Connection, selection: Selection) -> Range:
    """The range of events in which all lie that fit by now."""
    after, before = selection.received_after, selection.received_before
    lowest = uuid.UUID(first_id(after, -_SLACK)) if after else uuid.UUID(int=0)
    (row,) = await connection.fetch(_ENDS, lowest)
    if row["first"] is None:
        return Range(after=Cursor(lowest), last=lowest)
    last = uuid.UUID(bytes=row["last"].bytes)
    if before is not None:
        last = min(last, uuid.UUID(first_id(before, _SLACK)))
    return Range(after=Cursor(uuid.UUID(int=row["first"].int - 1)), last=last)


async def count(connection: Connection, selection: Selection, span: Range, look: int) -> Counted:
    """Count what fits among the first `look` dispatches of `span`."""
    query = _COUNT.format(page=page(selection))
    (row,) = await connection.fetch(query, *values(selection, span, look, look))
    end = Cursor(row["event_id"], row["handler"]) if row["looked_at"] == look else None
    return Counted(fitting=row["fitting"], end=end)


async def count_missing(connection: Connection, selection: Selection, span: Range, look: int) -> Counted:
    """Count those of the first `look` events of `span` that are not owed to the handler."""
    wanted = selection
    columns = (wanted.handler, wanted.source, wanted.type, wanted.received_after, wanted.received_before)
    (row,) = await connection.fetch(_COUNT_MISSING, span.after.event_id, span.last, look, *columns)
    end = Cursor(row["last"]) if row["looked_at"] == look else None
    return Counted(fitting=row["missing"], end=end)


async def sample(connection: Connection, selection: Selection, span: Range, look: int, most: int) -> list[SampleRow]:
    """The first `most` that fit among the first `look` dispatches of `span`."""
    rows = await connection.fetch(_SAMPLE.format(page=page(selection)), *values(selection, span, look, most))
    return msgspec.convert([dict(row) for row in rows], list[SampleRow])
