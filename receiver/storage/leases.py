"""Who runs what, and for how long: leasing due dispatches, keeping leases alive, giving them back.

Everything here runs on a connection of the dispatcher's own, each statement a transaction by itself under READ
COMMITTED, by the database's clock alone.
"""

import asyncio
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.errors import StoreUnavailable
from receiver.storage.engine import make_engine
from receiver.storage.own import CUT, OwnConnection

_ANSWER_SECONDS: Final = 10.0
_SUSPECT_AFTER: Final = 2
"""Attempts after which a dispatch whose lease is lost once more is a suspect."""

# By due_at alone: rows that are due at the same instant lie in the order of their arrival, and a tie-break would
# have to sort a whole replay before the first row of it could be taken.
_LEASE: Final = """
WITH due AS MATERIALIZED (
    SELECT event_id, handler, state, epoch, attempts, trigger, worker, leased_at, due_at
    FROM receiver.dispatch
    WHERE state IN ('ready', 'leased') AND due_at <= now() AND handler = ANY($1::text[])
        AND ($6 OR state = 'ready' OR attempts < $5)
    ORDER BY due_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), lost AS (
    INSERT INTO receiver.attempt
        (event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome, reason)
    SELECT event_id, handler, epoch, attempts, trigger, coalesce(worker, 'unknown'), coalesce(leased_at, due_at),
           due_at, 'lost', 'lease_expired'
    FROM due WHERE state = 'leased'
    ON CONFLICT DO NOTHING
), leased AS (
    UPDATE receiver.dispatch AS d
    SET state = 'leased', epoch = d.epoch + 1, due_at = now() + $3, worker = $4, leased_at = now(),
        attempts = d.attempts + CASE WHEN due.state = 'leased' AND due.attempts >= $5 THEN 0 ELSE 1 END
    FROM due
    WHERE d.event_id = due.event_id AND d.handler = due.handler
    RETURNING d.event_id, d.handler, d.epoch, due.attempts, due.state = 'leased' AND due.attempts >= $5 AS suspect,
        due.due_at
)
SELECT l.event_id, l.handler, l.epoch, l.attempts + 1, l.suspect, e.source, e.provider, e.external_id, e.type,
       e.entity_id, e.livemode, e.occurred_at, e.received_at, e.headers::text, e.body
FROM leased AS l LEFT JOIN receiver.event AS e ON e.id = l.event_id
ORDER BY CASE WHEN l.suspect THEN l.attempts ELSE 0 END, l.due_at
"""

# SKIP LOCKED: a row that is locked is being run, and its lock guards it better than any lease.
_RENEW: Final = """
WITH held AS MATERIALIZED (
    SELECT d.event_id, d.handler
    FROM unnest($1::uuid[], $2::text[], $3::int[]) AS t(event_id, handler, epoch)
    JOIN receiver.dispatch AS d USING (event_id, handler)
    WHERE d.epoch = t.epoch AND d.state || '' = 'leased'
    FOR UPDATE OF d SKIP LOCKED
)
UPDATE receiver.dispatch AS d SET due_at = now() + $4
FROM held WHERE d.event_id = held.event_id AND d.handler = held.handler
"""

_GIVE_BACK: Final = """
UPDATE receiver.dispatch AS d
SET state = 'ready', due_at = now(), attempts = t.attempts
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[]) AS t(event_id, handler, epoch, attempts)
WHERE d.event_id = t.event_id AND d.handler = t.handler AND d.epoch = t.epoch AND d.state || '' = 'leased'
"""


def lease_engine(url: str) -> AsyncEngine:
    """The engine of a `LeaseConnection`."""
    settings = {
        "default_transaction_isolation": "read committed",
        # A lease need not outlive a crash of Postgres: the run that rests on it commits after it, in WAL order.
        "synchronous_commit": "off",
        # The queue's statistics lag behind the queue: a plan made while it was empty must not scan it when it is full.
        "jit": "off",
        "enable_seqscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
    }
    return make_engine(url, name="receiver-leases", size=1, settings=settings)


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event's row, as far as handlers are told of it."""

    source: str
    provider: str
    external_id: str
    type: str | None
    entity_id: str | None
    livemode: bool | None
    occurred_at: dt.datetime | None
    received_at: dt.datetime
    headers: str
    """A JSON object."""
    body: bytes


class Lease(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A dispatch that this worker owns until somebody else takes it over."""

    event_id: uuid.UUID
    handler: str
    epoch: int
    """Proves that it is still ours."""
    attempt: int
    """The number of the run that it is leased for."""
    suspect: bool
    """It was lost more than once: it may be what kills workers. It is counted when it starts, not by its lease, and
    runs by itself: those who only died beside it must not be worn out with it."""
    event: StoredEvent | None
    """None: the event's row is gone."""


class LeaseConnection:
    """The statements on a connection of their own, which is opened when first needed and again after each loss.

    Args:
        engine: see `lease_engine`.
        worker: who leases.
        handlers: names of the handlers that this worker knows; dispatches of others are left untouched.
        seconds: how long a lease lasts.
    """

    def __init__(self, engine: AsyncEngine, *, worker: str, handlers: Sequence[str], seconds: float) -> None:
        self._engine = engine
        self._worker = worker
        self._handlers = list(handlers)
        self._length = dt.timedelta(seconds=seconds)
        self._own: OwnConnection | None = None
        self._one_at_a_time = asyncio.Lock()

    async def lease(self, most: int, *, suspects: bool = True) -> list[Lease]:
        """Lease and commit up to `most` dispatches, those first that have been due for longest.

        Args:
            most: how many.
            suspects: also those that would be suspects, see `Lease`.

        Eligible: ready and due, or leased by somebody whose lease ran out and who holds no lock on it, i.e. is not
        running it. The epoch rises by one, which fences the previous owner out; a lost lease leaves its record.
        The attempt is counted here already, which catches a handler that kills its worker.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer; what it leased then will run out.
        """
        values = (self._handlers, most, self._length, self._worker, _SUSPECT_AFTER, suspects)
        rows = await self._fetch(_LEASE, *values)
        return [_lease(row) for row in rows]

    async def renew(self, leases: Sequence[Lease]) -> None:
        """Let those of `leases` that are still ours, and not being run, last from now on.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer.
        """
        await self._fetch(_RENEW, *_columns(leases), self._length)

    async def give_back(self, leases: Sequence[Lease]) -> None:
        """Make those of `leases` that are still ours due at once, as if they had never been leased.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer; they will run out.
        """
        await self._fetch(_GIVE_BACK, *_columns(leases), [lease.attempt - 1 for lease in leases])

    async def close(self) -> None:
        """Close the connection."""
        own, self._own = self._own, None
        if own is not None:
            await own.discard()

    async def _fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        async with self._one_at_a_time:
            if self._own is None or not self._own.alive:
                await self.close()
                self._own = await OwnConnection.open(self._engine)
            try:
                return await self._own.raw.fetch(statement, *values, timeout=_ANSWER_SECONDS)
            except (*CUT, asyncpg.PostgresError) as error:
                await self.close()
                raise StoreUnavailable("Postgres did not answer") from error


def _columns(leases: Sequence[Lease]) -> tuple[list[uuid.UUID], list[str], list[int]]:
    return [lease.event_id for lease in leases], [lease.handler for lease in leases], [lease.epoch for lease in leases]


def _lease(row: asyncpg.Record) -> Lease:
    return Lease(
        event_id=row[0],
        handler=row[1],
        epoch=row[2],
        attempt=row[3],
        suspect=row[4],
        event=_event(row) if row[5] is not None else None,
    )


def _event(row: asyncpg.Record) -> StoredEvent:
    return StoredEvent(
        source=row[5],
        provider=row[6],
        external_id=row[7],
        type=row[8],
        entity_id=row[9],
        livemode=row[10],
        occurred_at=row[11],
        received_at=row[12],
        headers=row[13],
        body=row[14],
    )
