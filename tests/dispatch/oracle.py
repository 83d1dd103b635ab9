"""What must hold at every moment, whoever does what: asked of the database, and of what the parties were told."""

from collections import Counter
from typing import Final, NamedTuple

import asyncpg

from receiver.storage.leases import Lease
from receiver.storage.states import UNFINISHED, State, quoted

TABLES: Final = """
CREATE TABLE effect (event_id uuid NOT NULL, handler text NOT NULL, epoch int NOT NULL)
"""
CLEAR: Final = """
TRUNCATE receiver.dedup_key, receiver.event, receiver.dispatch, receiver.lane, receiver.attempt, receiver.replay,
    effect, judge.change
RESTART IDENTITY
"""

_PROBLEMS: Final = f"""
SELECT 'a change that is none' AS problem, wrong::text || old || new AS what
FROM judge.change WHERE cardinality(wrong) > 0
UNION ALL
SELECT 'two leased in a lane', lane::text
FROM receiver.dispatch WHERE state = '{State.LEASED}' GROUP BY lane HAVING lane IS NOT NULL AND count(*) > 1
UNION ALL
SELECT 'too many effects', e.event_id || e.handler
FROM (SELECT event_id, handler, count(*) AS effects FROM effect GROUP BY 1, 2) AS e
WHERE effects > 1 + (SELECT count(*) FROM judge.change WHERE 'replayed again' = ANY(transitions)
                     AND new->>'event_id' = e.event_id::text AND new->>'handler' = e.handler)
UNION ALL
SELECT 'an effect without its attempt, or the reverse', concat_ws(' ', event_id, handler, epoch)
FROM (SELECT event_id, handler, epoch FROM receiver.every_attempt WHERE outcome = 'succeeded') AS a
FULL JOIN effect AS e USING (event_id, handler, epoch) WHERE a IS NULL OR e IS NULL
UNION ALL
SELECT 'succeeded without an effect', event_id || handler
FROM receiver.dispatch AS d
WHERE state = '{State.SUCCEEDED}' AND NOT EXISTS (
    SELECT FROM effect WHERE (event_id, handler, epoch) = (d.event_id, d.handler, d.epoch))
UNION ALL
SELECT 'a lane that nobody will look at', lane::text
FROM (SELECT DISTINCT ON (lane) * FROM receiver.dispatch
      WHERE lane IS NOT NULL AND (state IN ({quoted(UNFINISHED)}) OR blocks) ORDER BY lane, lane_at, event_id) AS head
WHERE state = '{State.WAITING}' AND NOT EXISTS (
    SELECT FROM receiver.dispatch AS d WHERE d.lane = head.lane
        AND (state = '{State.LEASED}' OR (state = '{State.READY}' AND d.due_at <= now())))
UNION ALL
SELECT 'attempts below zero', event_id || handler FROM receiver.dispatch WHERE attempts < 0
UNION ALL
SELECT 'acknowledged and not stored', told.key::text
FROM unnest($1::bytea[]) AS told(key) WHERE NOT EXISTS (
    SELECT FROM receiver.dedup_key AS k JOIN receiver.event AS e ON e.id = k.event_id
    JOIN receiver.dispatch AS d ON d.event_id = e.id WHERE k.key = told.key)
"""

_AT_LAST: Final = f"""
SELECT concat_ws(' ', d.*::text, 'effects:', effects) FROM receiver.dispatch AS d CROSS JOIN LATERAL (
    SELECT count(*) AS effects FROM effect WHERE (event_id, handler) = (d.event_id, d.handler)) AS e
WHERE state <> '{State.SUCCEEDED}' OR effects <> 1 + (
    SELECT count(*) FROM judge.change WHERE 'replayed again' = ANY(transitions)
    AND new->>'event_id' = d.event_id::text AND new->>'handler' = d.handler)
"""
_TAKEN: Final = "SELECT unnest(transitions), count(*) FROM judge.change GROUP BY 1"
_LOOK: Final = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM judge.change_number_seq"
_ROWS: Final = f"""
SELECT lane, lane_at, event_id, state = '{State.LEASED}' AS leased,
       state IN ({quoted(UNFINISHED)}) OR blocks AS owed
FROM receiver.dispatch WHERE lane IS NOT NULL
"""
_CLAIM: Final = f"""
SELECT c.number, c.new->>'worker', (c.new->>'lane')::bigint, (c.new->>'lane_at')::timestamptz,
       (c.new->>'attempts')::int, EXISTS (
           SELECT FROM judge.change AS other
           WHERE number < c.number AND other.new->>'state' = '{State.SUCCEEDED}' AND other.new->>'lane' = c.new->>'lane'
               AND ((other.new->>'lane_at')::timestamptz, (other.new->>'event_id')::uuid)
                   > ((c.new->>'lane_at')::timestamptz, (c.new->>'event_id')::uuid))
FROM judge.change AS c
WHERE c.new->>'state' = '{State.LEASED}' AND (c.old->>'epoch')::int < (c.new->>'epoch')::int
    AND c.new->>'event_id' = $1 AND c.new->>'handler' = $2 AND (c.new->>'epoch')::int = $3
"""
_OWNED: Final = f"""
SELECT count(*) FROM receiver.dispatch
WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND leased_at = $4 AND state = '{State.LEASED}'
"""


class _Look(NamedTuple):
    """The lanes before a worker's request."""

    number: int
    """Of the last change by then."""
    rows: list[asyncpg.Record]


class Oracle:
    """Knows what was promised.

    Args:
        connection: not judged, and nobody else's while this asks.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._looks: dict[str, list[_Look]] = {}
        self.acknowledged: set[bytes] = set()
        """Keys."""
        self.claimed: list[Lease] = []
        """Leases that a worker was told of since the last check."""
        self.taken: Counter[str] = Counter()
        """How often each transition may have been taken, over all beginnings; some look alike."""
        self.lost: list[Lease] = []
        """Leases that a worker was told are not its own any more, since the last check."""

    async def forget(self) -> None:
        """Begin anew, with empty tables."""
        for row in await self._connection.fetch(_TAKEN):
            self.taken[row[0]] += row[1]
        await self._connection.execute(CLEAR)
        self._looks.clear()
        self.acknowledged.clear()
        self.claimed.clear()
        self.lost.clear()

    async def look(self, worker: str) -> None:
        """Remember the lanes as they are when a request of `worker` is let through."""
        number = await self._connection.fetchval(_LOOK)
        self._looks.setdefault(worker, []).append(_Look(number, await self._connection.fetch(_ROWS)))

    async def check(self) -> None:
        """Raises AssertionError where a promise is broken."""
        problems = [
            f"{problem}: {what}" for problem, what in await self._connection.fetch(_PROBLEMS, [*self.acknowledged])
        ]
        for lease in self.claimed:
            problems += await self._wrong_claim(lease)
        for lease in self.lost:
            key = (lease.event_id, lease.handler, lease.epoch, lease.leased_at)
            if await self._connection.fetchval(_OWNED, *key):
                problems.append(f"told that it is lost, and it is not: {lease}")
        self.claimed.clear()
        self.lost.clear()
        assert not problems, problems

    async def check_the_end(self) -> None:
        """Raises AssertionError where something is unfinished, or its effects are not as many as were asked for."""
        await self.check()
        left = [row[0] for row in await self._connection.fetch(_AT_LAST)]
        assert not left, left

    async def _wrong_claim(self, lease: Lease) -> list[str]:
        row = await self._connection.fetchrow(_CLAIM, str(lease.event_id), lease.handler, lease.epoch)
        if row is None:
            return [f"a lease that nobody was given: {lease}"]
        number, worker, lane, lane_at, attempts, late = row
        wrong = [f"late is {lease.late}: {lease}"] if late != lease.late else []
        if lease.attempt != attempts + int(lease.suspect):
            wrong.append(f"the row has {attempts} attempts: {lease}")
        if lane is not None:
            look = [look for look in self._looks[worker] if look.number < number][-1]
            mates = [row for row in look.rows if row["lane"] == lane and row["event_id"] != lease.event_id]
            if any(row["leased"] for row in mates):
                wrong.append(f"another of its lane was leased: {lease}")
            if any(row["owed"] and (row["lane_at"], row["event_id"]) < (lane_at, lease.event_id) for row in mates):
                wrong.append(f"an older one was there: {lease}")
        return wrong
