"""What is written of events when they arrive: key, event and dispatch rows of many, in one statement and one commit."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from receiver.events import Event, Held, Trust, lane_time
from receiver.storage.engine import Connection, Statement


class Identifier(Protocol):
    """A UUIDv7 of any implementation."""

    @property
    def bytes(self) -> bytes:
        """The 16 bytes."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One fact on its way into the tables."""

    key: bytes
    """What is unique: see `inbox/key.py`."""
    event_id: Identifier
    fingerprint: bytes | None
    source: str
    provider: str
    external_id: str
    type: str | None
    entity_id: str | None
    livemode: bool | None
    occurred_at: dt.datetime | None
    headers: Mapping[str, str]
    """The allow-listed headers."""
    body: bytes
    trust: Trust = "signed"
    """What vouches for it."""
    secret: str | None = None
    """The setting whose key verified it, such as `secrets[0]`."""
    token: Held | None = None
    """The token that it came with, if that opens one thing only; see `bound.py`."""
    owed: tuple[tuple[str, int | None], ...]
    """The handlers that want it and the lane in each (None: no lane): one dispatch row each."""

    def event(
        self, *, handler: str, attempt: int, received_at: dt.datetime, reader: Callable[[bytes], object]
    ) -> Event:
        """The event as a handler would see it.

        Args:
            handler: the handler's name.
            attempt: number of the run, from 1; 0 before any.
            received_at: aware.
            reader: how the body becomes `data`.
        """
        return Event(
            id=uuid.UUID(bytes=self.event_id.bytes),
            source=self.source,
            provider=self.provider,
            external_id=self.external_id,
            type=self.type,
            entity_id=self.entity_id,
            livemode=self.livemode,
            occurred_at=self.occurred_at,
            received_at=received_at,
            headers=self.headers,
            body=self.body,
            trust=self.trust,
            handler=handler,
            attempt=attempt,
            reader=reader,
        )


Fingerprints = dict[bytes, bytes | None]
"""By key; None where the provider knows none."""

_encode: Final = msgspec.json.Encoder().encode

# Rows arrive sorted by key (by the caller): two processes that insert the same keys in different orders deadlock.
# CAST and not `::` behind a parameter, so that the statement can be said through SQLAlchemy too: see `emits.py`.
STORE: Final = """
WITH arrival AS MATERIALIZED (
    SELECT key, id, fingerprint, body, told->>0 AS source, told->>1 AS provider, told->>2 AS external_id,
           told->>3 AS type, told->>4 AS entity_id, (told->>5)::bool AS livemode,
           (told->>6)::timestamptz AS occurred_at, (told->7)::jsonb AS headers,
           told->>8 AS trust, told->>9 AS secret
    FROM unnest(CAST($1 AS bytea[]), CAST($2 AS uuid[]), CAST($3 AS bytea[]), CAST($4 AS bytea[]), CAST($5 AS json[]))
        AS t(key, id, fingerprint, body, told)
), fresh AS (
    INSERT INTO receiver.dedup_key (key, event_id, fingerprint)
    SELECT key, id, fingerprint FROM arrival
    ON CONFLICT (key) DO NOTHING
    RETURNING event_id
), stored AS (
    INSERT INTO receiver.event
        (id, key, source, provider, external_id, type, entity_id, livemode, occurred_at, headers, body,
         trust, secret)
    SELECT id, key, source, provider, external_id, type, entity_id, livemode, occurred_at, headers, body, trust, secret
    FROM arrival JOIN fresh ON fresh.event_id = arrival.id
), owed AS (
    INSERT INTO receiver.dispatch (event_id, handler, lane, lane_at)
    SELECT d.event_id, d.handler, d.lane, coalesce(d.lane_at, CASE WHEN d.lane IS NOT NULL THEN now() END)
    FROM unnest(CAST($6 AS uuid[]), CAST($7 AS text[]), CAST($8 AS bigint[]), CAST($9 AS timestamptz[]))
        AS d(event_id, handler, lane, lane_at)
    JOIN fresh USING (event_id)
)
SELECT event_id, NULL::bytea, NULL::bytea FROM fresh
UNION ALL
SELECT k.event_id, a.key, k.fingerprint
FROM arrival AS a CROSS JOIN LATERAL (SELECT event_id, fingerprint FROM receiver.dedup_key WHERE key = a.key) AS k
WHERE NOT EXISTS (SELECT FROM fresh WHERE fresh.event_id = a.id)
"""

_FOUND: Final = "SELECT key, fingerprint FROM receiver.dedup_key WHERE key = ANY($1::bytea[])"

_COUNT_DUPLICATES: Final = """
UPDATE receiver.dedup_key AS k SET duplicates = k.duplicates + t.n
FROM (SELECT * FROM unnest($1::bytea[], $2::int[]) AS u(key, n) ORDER BY key) AS t
WHERE k.key = t.key
"""


class ArrivalStatements:
    """The statements, prepared on one connection."""

    def __init__(
        self,
        store: Statement,
        found: Statement,
    ) -> None:
        self._store = store
        self._found = found

    @classmethod
    async def prepare(cls, connection: Connection) -> "ArrivalStatements":
        """Prepare on `connection`, which must be in autocommit."""
        return cls(await connection.prepare(STORE), await connection.prepare(_FOUND))

    async def store(self, arrivals: Sequence[Arrival], seconds: float) -> tuple[set[bytes], Fingerprints]:
        """Insert and commit all whose key is new; the rest is left untouched.

        Args:
            arrivals: sorted by key, no key twice.
            seconds: past it the outcome is unknown.

        Returns:
            The ids (16 bytes) of the events that are now stored for the first time; and the fingerprints under the
            keys that were stored before this statement began. A key in neither was stored by somebody else meanwhile.
        """
        rows = await self._store.fetch(*parameters(arrivals), timeout=seconds)
        fresh = {row[0].bytes for row in rows if row[1] is None}
        return fresh, {row[1]: row[2] for row in rows if row[1] is not None}

    async def fingerprints(self, keys: Sequence[bytes], seconds: float) -> Fingerprints:
        """The fingerprint stored under each of `keys`; a key that is not stored is absent."""
        return {row[0]: row[1] for row in await self._found.fetch(keys, timeout=seconds)}


Parameters: TypeAlias = tuple[Sequence[object], ...]


def parameters(arrivals: Sequence[Arrival]) -> Parameters:
    """What `STORE` takes, each parameter an array.

    Args:
        arrivals: sorted by key, no key twice.
    """
    owed = [(a.event_id, name, lane, lane_time(a.occurred_at, a.trust)) for a in arrivals for name, lane in a.owed]
    return (
        [a.key for a in arrivals],
        [a.event_id for a in arrivals],
        [a.fingerprint for a in arrivals],
        [a.body for a in arrivals],
        [_told(a) for a in arrivals],
        [event_id for event_id, _, _, _ in owed],
        [handler for _, handler, _, _ in owed],
        [lane for _, _, lane, _ in owed],
        [None if lane is None else at for _, _, lane, at in owed],
    )


def _told(arrival: Arrival) -> str:
    """The small columns as one JSON array: asyncpg looks at each element of each array twice, in Python."""
    a = arrival
    named = (a.source, a.provider, a.external_id, a.type, a.entity_id, a.livemode, a.occurred_at)
    return _encode((*named, a.headers, a.trust, a.secret)).decode()


async def count_duplicates(connection: Connection, counts: Sequence[tuple[bytes, int]], seconds: float) -> None:
    """Add to the number of duplicates of each key. Keys must be sorted: two processes may count the same ones."""
    await connection.execute(_COUNT_DUPLICATES, [key for key, _ in counts], [n for _, n in counts], timeout=seconds)
