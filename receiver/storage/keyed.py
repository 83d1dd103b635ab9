"""The first response to each key that a client made: who may run its request, and what is replayed to all others.

A key is claimed by one statement and by the database's clock alone. It is a lease: its owner extends it, and when a
server dies it ends, so that the request may run again. A response is stored once, by the owner that still has it.

A claim need not outlive a crash of PostgreSQL: the run that rests on it commits after it, in WAL order, so where the
claim is lost, all that the run wrote to this database is lost too. A response must: the client has heard it.
"""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias

import asyncpg
import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from receiver.errors import StoreUnavailable
from receiver.storage.engine import make_engine
from receiver.storage.own import KeptConnection, OwnConnection
from receiver.storage.raw import RawTransaction

_ANSWER_SECONDS: Final = 5.0
_BATCH: Final = 1_000
"""Rows that are removed in one statement."""

_LATE: Final = "late AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))"
"""What stands beside this commits with its transaction, and reaches the disk a little later."""

# May be claimed: over, or left by its owner. Another request under a key that is not over is never the same.
_FREE: Final = """(
    CASE WHEN k.status IS NULL
        THEN k.leased_until <= now() AND (k.fingerprint = $3 OR k.expires_at <= now())
        ELSE k.expires_at <= now()
    END)"""

# What stands is looked at first: replays and refusals then write nothing, and wait for nobody's lock.
_CLAIM: Final = f"""
WITH {_LATE}, standing AS MATERIALIZED (
    SELECT fingerprint, status, headers, body FROM receiver.idempotency_key AS k WHERE key = $1 AND NOT {_FREE}
), taken AS (
    INSERT INTO receiver.idempotency_key AS k (key, scope, fingerprint, owner, leased_until, expires_at)
    SELECT $1, $2, $3, $4, now() + $5, now() + $6 FROM late WHERE NOT EXISTS (SELECT FROM standing)
    ON CONFLICT (key) DO UPDATE SET
        fingerprint = excluded.fingerprint, owner = excluded.owner, leased_until = excluded.leased_until,
        status = NULL, headers = NULL, body = NULL,
        created_at = CASE WHEN k.expires_at <= now() THEN excluded.created_at ELSE k.created_at END,
        expires_at = CASE WHEN k.expires_at <= now() THEN excluded.expires_at ELSE k.expires_at END
    WHERE {_FREE}
    RETURNING true AS taken
)
SELECT 'claimed' AS state, NULL AS status, NULL AS headers, NULL AS body FROM taken
UNION ALL
SELECT
    CASE
        WHEN fingerprint <> $3 THEN 'reused'
        WHEN status IS NULL THEN 'running'
        WHEN body IS NULL THEN 'not_replayable'
        ELSE 'stored'
    END, status, headers, body
FROM standing
"""
_EXTEND: Final = f"""
WITH {_LATE}
UPDATE receiver.idempotency_key SET leased_until = now() + $3 FROM late
WHERE key = $1 AND owner = $2 AND status IS NULL
"""
_STORE: Final = """
UPDATE receiver.idempotency_key SET status = $3, headers = $4, body = $5
WHERE key = $1 AND owner = $2 AND status IS NULL
RETURNING 1
"""
_STORE_BY_NAME: Final = text(
    _STORE.replace("$1", ":key")
    .replace("$2", ":owner")
    .replace("$3", ":status")
    .replace("$4", ":headers")
    .replace("$5", ":body")
)
_REMOVE: Final = """
DELETE FROM receiver.idempotency_key WHERE key IN (
    SELECT key FROM receiver.idempotency_key
    WHERE expires_at <= now() AND (status IS NOT NULL OR leased_until <= now())
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
"""

State: TypeAlias = Literal["claimed", "running", "reused", "not_replayable", "stored"]


class StoredResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response as it is replayed."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    """In their order; Latin-1."""
    body: bytes | None
    """None: it was answered, but the response was too large to be kept."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a claim."""

    state: State
    response: StoredResponse | None = None
    """Of what is stored."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A request that wants to run."""

    key: bytes
    """Digest of scope, caller and the client's key."""
    scope: str
    fingerprint: bytes
    owner: uuid.UUID
    """Of this run alone."""
    lease: dt.timedelta
    retention: dt.timedelta


class KeyStore:
    """The statements, on a few connections of their own that are opened when they are needed.

    Args:
        engine: see `key_engine`.
        size: most connections.
    """

    def __init__(self, engine: AsyncEngine, *, size: int) -> None:
        self._engine = engine
        self._idle: asyncio.LifoQueue[KeptConnection] = asyncio.LifoQueue()
        self._all = [KeptConnection(engine) for _ in range(size)]
        for each in self._all:
            self._idle.put_nowait(each)

    async def claim(self, wanted: Wanted) -> Standing:
        """Claim a key, or see what stands under it.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer. If it has claimed the key nevertheless,
                the lease will end.
        """
        values = (wanted.key, wanted.scope, wanted.fingerprint, wanted.owner, wanted.lease, wanted.retention)
        rows = None
        async with self._own() as own:
            while not rows:  # taken while this waited for it, and not to be seen before the next statement
                try:
                    rows = await own.raw.fetch(_CLAIM, *values, timeout=_ANSWER_SECONDS)
                except asyncpg.LockNotAvailableError:  # a transaction that stores the response is open
                    return Standing(state="running")
        return _standing(rows[0])

    async def extend(self, key: bytes, owner: uuid.UUID, lease: dt.timedelta) -> bool:
        """Let the lease last from now on; False if it is not the owner's any more, or is answered.

        Raises:
            StoreUnavailable: as `claim`.
        """
        return await self._execute(_EXTEND, key, owner, lease) == "UPDATE 1"

    async def release(self, key: bytes, owner: uuid.UUID) -> None:
        """Let the same request run again at once. What is answered, or somebody else's, stays as it is.

        Raises:
            StoreUnavailable: as `claim`; the lease will end.
        """
        await self._execute(_EXTEND, key, owner, dt.timedelta())

    async def store(self, key: bytes, owner: uuid.UUID, response: StoredResponse) -> bool:
        """Store the response; False if the key is not the owner's any more, or has one.

        Raises:
            StoreUnavailable: as `claim`; whether it was stored is unknown.
        """
        return await self._execute(_STORE, key, owner, *_columns(response)) == "UPDATE 1"

    async def remove_expired(self, *, most: int) -> int:
        """Remove keys whose retention is over, those first that ended first; how many there were.

        Args:
            most: at least one statement's worth, 1,000.

        Raises:
            StoreUnavailable: as `claim`.
        """
        removed = 0
        while removed < most:
            said = await self._execute(_REMOVE, _BATCH)
            removed += (last := int(said.removeprefix("DELETE ")))
            if last < _BATCH:
                break
        return removed

    async def close(self) -> None:
        """Close the connections."""
        for each in self._all:
            await each.close()
        await self._engine.dispose()

    async def _execute(self, statement: str, *values: object) -> str:
        async with self._own() as own:
            return await own.raw.execute(statement, *values, timeout=_ANSWER_SECONDS)

    @asynccontextmanager
    async def _own(self) -> AsyncIterator[OwnConnection]:
        """A connection that nobody else uses."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                kept = await self._idle.get()
        except TimeoutError:
            raise StoreUnavailable("all connections are in use") from None
        try:
            async with kept.use() as own:
                yield own
        finally:
            self._idle.put_nowait(kept)


def key_engine(url: str, *, size: int) -> AsyncEngine:
    """The engine of a `KeyStore`."""
    settings = {
        "default_transaction_isolation": "read committed",
        "lock_timeout": "500ms",
        "plan_cache_mode": "force_generic_plan",  # planning a claim takes longer than running it
    }
    return make_engine(url, name="receiver-keys", size=size, settings=settings)


async def store_in(tx: AsyncSession | RawTransaction, key: bytes, owner: uuid.UUID, response: StoredResponse) -> bool:
    """Store the response in the transaction of `tx`; False if the key is not the owner's any more, or has one."""
    if isinstance(tx, RawTransaction):
        return await tx.fetchval(_STORE, key, owner, *_columns(response)) is not None
    return await tx.run_sync(store_in_sync, key, owner, response)


def store_in_sync(tx: Session, key: bytes, owner: uuid.UUID, response: StoredResponse) -> bool:
    """`store_in` for plain functions."""
    names = ("key", "owner", "status", "headers", "body")
    values = dict(zip(names, (key, owner, *_columns(response)), strict=True))
    return tx.execute(_STORE_BY_NAME, values).one_or_none() is not None


def _columns(response: StoredResponse) -> tuple[int, str, bytes | None]:
    return response.status, msgspec.json.encode(response.headers).decode(), response.body


def _standing(row: asyncpg.Record) -> Standing:
    state, status, headers, body = row
    if status is None or state == "reused":
        return Standing(state=state)
    pairs = msgspec.json.decode(headers, type=tuple[tuple[str, str], ...])
    return Standing(state=state, response=StoredResponse(status=status, headers=pairs, body=body))
