"""Running dispatches again: those of one event at once, many as a job that workers take step by step."""

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import asyncpg
import msgspec

from receiver.storage.engine import Connection
from receiver.storage.selections import Range, Selection

JobState: TypeAlias = Literal["running", "paused", "cancelled", "done"]

# What is leased will be claimed again by its own clock, if nobody runs it; what waits must not get past its lane.
# What succeeded is its own record of that, until it is to run once more.
# Locked rows are being run at this moment: they need no replay, and waiting for them would take as long as they do.
REPLAY: Final = """
locked AS MATERIALIZED (
    SELECT d.* FROM {chosen} JOIN receiver.dispatch AS d USING (event_id, handler)
    WHERE {fits}
    FOR UPDATE OF d SKIP LOCKED
), kept AS (
    INSERT INTO receiver.attempt
        (event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome, reason)
    SELECT event_id, handler, epoch, attempts, trigger, worker, started_at, coalesce(finished_at, started_at),
           'succeeded', reason
    FROM locked WHERE started_at IS NOT NULL
), replayed AS (
    UPDATE receiver.dispatch AS d
    SET state = 'ready', due_at = now(), attempts = 0, epoch = d.epoch + 1, trigger = 'manual', reason = NULL,
        blocks = false, deferrals = 0, deferred_at = NULL, started_at = NULL, finished_at = NULL
    FROM locked WHERE d.event_id = locked.event_id AND d.handler = locked.handler
    RETURNING d.handler
)"""

_REPLAY_EVENT: Final = f"""
WITH asked AS (
    SELECT event_id, handler FROM receiver.dispatch WHERE event_id = $1 AND ($2::text IS NULL OR handler = $2)
), {REPLAY.format(chosen="asked", fits="d.state IN ('ready', 'dead') OR (d.state = 'succeeded' AND $3)")}
SELECT handler FROM replayed ORDER BY handler
"""

_COLUMNS: Final = """
id, state, asked::text AS asked, rate, matched, estimated, looked_at, replayed, created, skipped, created_at, next_at,
stepped_at, worker, behind, finished_at, now() AS read_at
"""
_START: Final = f"""
INSERT INTO receiver.replay (id, asked, creates_for, rate, matched, estimated, after_event, last_event)
VALUES ($1, $2::jsonb, $3, $4, $5, $6, $7, $8)
RETURNING {_COLUMNS}
"""
_GET: Final = f"SELECT {_COLUMNS} FROM receiver.replay WHERE id = $1"
_LIST: Final = f"SELECT {_COLUMNS} FROM receiver.replay ORDER BY id DESC LIMIT $1"
_CHANGE: Final = f"""
UPDATE receiver.replay
SET state = $2, next_at = greatest(next_at, now()), behind = NULL, finished_at = CASE $2 WHEN 'cancelled' THEN now() END
WHERE id = $1 AND state = ANY($3::text[])
RETURNING {_COLUMNS}
"""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A replay of many dispatches, and how far it has come."""

    id: uuid.UUID
    state: JobState
    asked: Selection
    rate: float | None
    """Most per second; None: as fast as it goes."""
    matched: int
    """How many fitted when it began;"""
    estimated: bool
    """that is a guess, or more than will be found."""
    looked_at: int
    replayed: int
    created: int
    """Dispatches that never were before."""
    skipped: int
    """They fitted, but by the time of their turn somebody else had them."""
    created_at: dt.datetime
    next_at: dt.datetime
    """When the rate allows the next step."""
    stepped_at: dt.datetime | None
    """When a worker took a step last."""
    worker: str | None
    """Which."""
    behind: str | None
    """The handler that has enough to do as it is; the next step waits for it."""
    finished_at: dt.datetime | None
    read_at: dt.datetime
    """Now, by the database's clock."""

    @property
    def handled(self) -> int:
        """How many of `matched` are behind it."""
        return self.replayed + self.created + self.skipped


async def replay_event(
    connection: Connection, event_id: uuid.UUID, handler: str | None, *, again: bool = False
) -> Sequence[str]:
    """Make the dispatches of one event due now, with all attempts before them.

    Left alone: what succeeded, what a worker has leased, and what waits for others of its lane.

    Args:
        connection: commits by itself, or in a transaction.
        event_id: the event.
        handler: only this handler's; None: all.
        again: also what succeeded. Its effect will be there twice.

    Returns:
        The names of the handlers that will run; sorted.
    """
    return [row[0] for row in await connection.fetch(_REPLAY_EVENT, event_id, handler, again)]


async def start(
    connection: Connection,
    job_id: uuid.UUID,
    selection: Selection,
    span: Range,
    *,
    rate: float | None,
    matched: int,
    estimated: bool,
) -> Job:
    """Add a job, which workers begin to step once it is committed.

    Args:
        connection: in the transaction that records it in the audit log too.
        job_id: a new UUIDv7.
        selection: which dispatches.
        span: see `selections.whole`.
        rate: most per second; None: as fast as it goes.
        matched: how many fit by now.
        estimated: `matched` is a guess.
    """
    asked = msgspec.json.encode(selection).decode()
    creates_for = selection.handler if selection.creates else None
    (row,) = await connection.fetch(
        _START, job_id, asked, creates_for, rate, matched, estimated, span.after.event_id, span.last
    )
    return _job(row)


async def get(connection: Connection, job_id: uuid.UUID) -> Job | None:
    """One job."""
    rows = await connection.fetch(_GET, job_id)
    return _job(rows[0]) if rows else None


async def newest(connection: Connection, limit: int) -> list[Job]:
    """The newest jobs, newest first."""
    return [_job(row) for row in await connection.fetch(_LIST, limit)]


async def change(connection: Connection, job_id: uuid.UUID, state: JobState, before: Sequence[JobState]) -> Job | None:
    """Move a job to another state, behind the step that is being taken at this moment.

    Args:
        connection: in the transaction that records it in the audit log too.
        job_id: the job.
        state: the one that it is to have.
        before: those that it may have; None is returned if it has another.
    """
    rows = await connection.fetch(_CHANGE, job_id, state, before)
    return _job(rows[0]) if rows else None


def _job(row: asyncpg.Record) -> Job:
    return msgspec.convert({**row, "asked": msgspec.json.decode(row["asked"], type=Selection)}, Job)
