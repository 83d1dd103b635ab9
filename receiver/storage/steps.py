"""What a worker does in one step of a replay job: the rows, the counts and the cursor, in one transaction."""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from receiver.events import Trust
from receiver.storage.engine import Connection
from receiver.storage.replays import REPLAY
from receiver.storage.selections import FITS, Cursor, Range, Selection, page, values

ANSWER_SECONDS: Final = 30.0

# A page that had more than may be replayed now is cut behind the last of them.
_STEP: Final = f"""
WITH {{page}}, {REPLAY.format(chosen="fitting", fits="{fits}")}, reached AS (
    SELECT * FROM (
        SELECT event_id, handler FROM fitting WHERE (SELECT count(*) FROM fitting) = $11
        UNION ALL
        SELECT event_id, handler FROM page WHERE (SELECT count(*) FROM fitting) < $11
    ) AS seen
    ORDER BY event_id DESC, handler DESC LIMIT 1
)
SELECT count(*) AS looked_at, (SELECT count(*) FROM fitting) AS fitting,
       (SELECT count(*) FROM replayed) AS replayed,
       ARRAY(SELECT DISTINCT handler FROM replayed) AS handlers, reached.event_id, reached.handler
FROM reached JOIN page ON (page.event_id, page.handler) <= (reached.event_id, reached.handler)
GROUP BY reached.event_id, reached.handler
"""

_CANDIDATES: Final = """
SELECT e.id, e.source, e.provider, e.external_id, e.type, e.entity_id, e.livemode, e.occurred_at, e.received_at,
       e.trust, d.state,
       (($5::text IS NULL OR e.source = $5) AND ($6::text IS NULL OR e.type = $6)
        AND ($7::timestamptz IS NULL OR e.received_at >= $7)
        AND ($8::timestamptz IS NULL OR e.received_at < $8)
        AND ($9::timestamptz IS NULL OR e.received_at <= $9)) AS fits
FROM (SELECT * FROM receiver.event WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3) AS e
LEFT JOIN receiver.dispatch AS d ON d.event_id = e.id AND d.handler = $4
ORDER BY e.id
"""
_CONTENTS: Final = "SELECT id, headers::text, body FROM receiver.event WHERE id = ANY($1)"
# What has been run is not missing, even if somebody deleted its row: its effect may be there.
_CREATE: Final = """
INSERT INTO receiver.dispatch (event_id, handler, lane, lane_at, trigger)
SELECT event_id, $2, lane, lane_at, 'manual' FROM unnest($1::uuid[], $3::bigint[], $4::timestamptz[])
    AS t(event_id, lane, lane_at)
WHERE NOT EXISTS (SELECT FROM receiver.attempt AS a WHERE a.event_id = t.event_id AND a.handler = $2)
ON CONFLICT DO NOTHING
RETURNING event_id
"""
_REPLAY_DEAD: Final = f"""
WITH asked AS (
    SELECT event_id, $2::text AS handler FROM unnest($1::uuid[]) AS t(event_id)
), {REPLAY.format(chosen="asked", fits="d.state = 'dead'")}
SELECT count(*) FROM replayed
"""

_BEHIND: Final = """
SELECT asked.handler FROM unnest($1::text[]) AS asked(handler)
WHERE (SELECT count(*) FROM (
    SELECT FROM receiver.dispatch AS d
    WHERE d.handler = asked.handler AND d.state IN ('ready', 'leased') AND d.due_at <= now() LIMIT $2
) AS due) = $2
LIMIT 1
"""
_HOLD: Final = """
UPDATE receiver.replay SET behind = $2, next_at = now() + make_interval(secs => $3) WHERE id = $1
"""

# A worker that was away for longer than a second does not make up for more than that.
_SAVE: Final = """
UPDATE receiver.replay
SET looked_at = looked_at + $2, replayed = replayed + $3, created = created + $4, skipped = skipped + $5,
    after_event = $6, after_handler = $7, stepped_at = now(), worker = $8, behind = NULL,
    next_at = CASE WHEN rate IS NULL THEN now()
                   ELSE greatest(next_at, now() - interval '1 second') + make_interval(secs => ($3 + $4) / rate) END,
    state = CASE WHEN $9 THEN 'done' ELSE state END, finished_at = CASE WHEN $9 THEN now() END
WHERE id = $1
"""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A job whose row is locked for a step."""

    id: uuid.UUID
    asked: Selection
    rate: float | None
    span: Range
    """What is left of it."""


class Stepped(msgspec.Struct, frozen=True, kw_only=True):
    """What a step did."""

    looked_at: int
    replayed: int = 0
    created: int = 0
    skipped: int = 0
    handlers: frozenset[str] = frozenset()
    """Whose they are."""
    end: Cursor
    """All up to this one has been looked at."""
    done: bool
    """Nothing is left."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a handler may be owed."""

    id: uuid.UUID
    source: str
    provider: str
    external_id: str
    type: str | None
    entity_id: str | None
    livemode: bool | None
    occurred_at: dt.datetime | None
    received_at: dt.datetime
    trust: Trust
    state: str | None
    """Of its dispatch; None: it is not owed."""
    fits: bool
    """It is in the selection."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What an event was stored with."""

    headers: str
    """A JSON object."""
    body: bytes


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A dispatch to be created."""

    event_id: uuid.UUID
    lane: int | None
    lane_at: dt.datetime | None
    """Its place in the lane."""


class Step:
    """The transaction of one step.

    Args:
        connection: in that transaction.
        job: what is locked in it.
        worker: who takes the step.
    """

    def __init__(self, connection: Connection, job: Taken, worker: str) -> None:
        self.job = job
        self._connection = connection
        self._worker = worker

    async def replay(self, look: int, most: int) -> Stepped:
        """Replay up to `most` of the next `look` dispatches."""
        job = self.job
        query = _STEP.format(page=page(job.asked), fits=FITS[job.asked.state].format(row="d"))
        found = await self._connection.fetch(query, *values(job.asked, job.span, look, most), timeout=ANSWER_SECONDS)
        if not found:
            return Stepped(looked_at=0, end=job.span.after, done=True)
        (row,) = found
        return Stepped(
            looked_at=row["looked_at"],
            replayed=row["replayed"],
            skipped=row["fitting"] - row["replayed"],
            handlers=frozenset(row["handlers"]),
            end=Cursor(row["event_id"], row["handler"]),
            done=row["looked_at"] < look and row["fitting"] < most,
        )

    async def candidates(self, look: int) -> list[Candidate]:
        """The next `look` events, each with what the handler of the job is owed of it."""
        job, asked = self.job, self.job.asked
        columns = (asked.source, asked.type, asked.received_after, asked.received_before, job.span.until)
        rows = await self._connection.fetch(
            _CANDIDATES, job.span.after.event_id, job.span.last, look, asked.handler, *columns
        )
        return msgspec.convert([dict(row) for row in rows], list[Candidate])

    async def contents(self, events: Sequence[uuid.UUID]) -> dict[uuid.UUID, Content]:
        """Headers and bodies of `events`: as many as may be held in memory."""
        rows = await self._connection.fetch(_CONTENTS, events, timeout=ANSWER_SECONDS)
        return {uuid.UUID(bytes=row[0].bytes): Content(headers=row[1], body=row[2]) for row in rows}

    async def create(self, missing: Sequence[Missing]) -> int:
        """Owe them to the handler of the job, due now; how many were not owed before."""
        columns = [one.lane for one in missing], [one.lane_at for one in missing]
        events = [one.event_id for one in missing]
        return len(
            await self._connection.fetch(_CREATE, events, self.job.asked.handler, *columns, timeout=ANSWER_SECONDS)
        )

    async def replay_dead(self, events: Sequence[uuid.UUID]) -> int:
        """Replay those dispatches of `events` that are still dead; how many."""
        count = await self._connection.fetchval(_REPLAY_DEAD, events, self.job.asked.handler, timeout=ANSWER_SECONDS)
        return int(count)

    async def behind(self, handlers: Collection[str], most: int) -> str | None:
        """One of `handlers` that has at least `most` dispatches due, if there is one."""
        found = await self._connection.fetchval(_BEHIND, sorted(handlers), most, timeout=ANSWER_SECONDS)
        return None if found is None else str(found)

    async def hold(self, behind: str, seconds: float) -> None:
        """Take no step for so long, since the handler `behind` has enough to do; the commit is the caller's."""
        await self._connection.execute(_HOLD, self.job.id, behind, seconds, timeout=ANSWER_SECONDS)

    async def save(self, stepped: Stepped) -> None:
        """Move the cursor; the commit is the caller's."""
        counts = (stepped.looked_at, stepped.replayed, stepped.created, stepped.skipped)
        end = stepped.end
        await self._connection.execute(
            _SAVE, self.job.id, *counts, end.event_id, end.handler, self._worker, stepped.done, timeout=ANSWER_SECONDS
        )
