"""What ingress writes: key, event and dispatch rows of many callbacks in one statement and one commit."""

import datetime as dt
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

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
    headers: str
    """A JSON object of the allow-listed headers."""
    body: bytes
    handlers: tuple[str, ...]
    """The handlers that want it: one dispatch row each."""


# Rows arrive sorted by key (by the caller): two processes that insert the same keys in different orders deadlock.
_STORE: Final = """
WITH arrival AS MATERIALIZED (
    SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[],
                         $8::text[], $9::bool[], $10::timestamptz[], $11::jsonb[], $12::bytea[])
        AS t(key, id, fingerprint, source, provider, external_id, type, entity_id, livemode, occurred_at, headers, body)
), fresh AS (
    INSERT INTO receiver.dedup_key (key, event_id, fingerprint)
    SELECT key, id, fingerprint FROM arrival
    ON CONFLICT (key) DO NOTHING
    RETURNING event_id
), stored AS (
    INSERT INTO receiver.event
        (id, key, source, provider, external_id, type, entity_id, livemode, occurred_at, headers, body)
    SELECT id, key, source, provider, external_id, type, entity_id, livemode, occurred_at, headers, body
    FROM arrival JOIN fresh ON fresh.event_id = arrival.id
), owed AS (
    INSERT INTO receiver.dispatch (event_id, handler)
    SELECT d.event_id, d.handler
    FROM unnest($13::uuid[], $14::text[]) AS d(event_id, handler) JOIN fresh USING (event_id)
)
SELECT event_id FROM fresh
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
        return cls(await connection.prepare(_STORE), await connection.prepare(_FOUND))

    async def store(self, arrivals: Sequence[Arrival], seconds: float) -> set[bytes]:
        """Insert and commit all whose key is new; the rest is left untouched.

        Args:
            arrivals: sorted by key, no key twice.
            seconds: past it the outcome is unknown.

        Returns:
            The ids (16 bytes) of the events that are now stored for the first time.
        """
        owed = [(arrival.event_id, handler) for arrival in arrivals for handler in arrival.handlers]
        rows = await self._store.fetch(
            [a.key for a in arrivals],
            [a.event_id for a in arrivals],
            [a.fingerprint for a in arrivals],
            [a.source for a in arrivals],
            [a.provider for a in arrivals],
            [a.external_id for a in arrivals],
            [a.type for a in arrivals],
            [a.entity_id for a in arrivals],
            [a.livemode for a in arrivals],
            [a.occurred_at for a in arrivals],
            [a.headers for a in arrivals],
            [a.body for a in arrivals],
            [event_id for event_id, _ in owed],
            [handler for _, handler in owed],
            timeout=seconds,
        )
        return {row[0].bytes for row in rows}

    async def fingerprints(self, keys: Sequence[bytes], seconds: float) -> dict[bytes, bytes | None]:
        """The fingerprint stored under each of `keys`; a key that is not stored is absent."""
        return {row[0]: row[1] for row in await self._found.fetch(keys, timeout=seconds)}


async def count_duplicates(connection: Connection, counts: Sequence[tuple[bytes, int]], seconds: float) -> None:
    """Add to the number of duplicates of each key. Keys must be sorted: two processes may count the same ones."""
    await connection.execute(_COUNT_DUPLICATES, [key for key, _ in counts], [n for _, n in counts], timeout=seconds)
