"""One flush against Postgres: what is new is stored, what is known is a duplicate, what contradicts is set aside."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from receiver.errors import StoreRefused, StoreUnavailable, UnknownOutcome
from receiver.inbox.faults import CUT, ROW_AT_FAULT, UNREACHABLE
from receiver.inbox.outcome import Outcome
from receiver.storage import bound, quarantine
from receiver.storage.arrivals import Arrival, ArrivalStatements, Fingerprints
from receiver.storage.engine import Connection, raw_connection
from receiver.storage.identity import identity

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Session:
    """A connection and what was learnt and prepared on it."""

    connection: AsyncConnection
    raw: Connection
    statements: ArrivalStatements
    namespace: bytes | None


class Store:
    """The one connection on which this process stores callbacks.

    It is opened when first needed and again after each loss; between a loss and the next flush `namespace` is None,
    so no mark is trusted.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._session: _Session | None = None

    @property
    def namespace(self) -> bytes | None:
        """Names this Postgres and its timeline while there is a live connection to it, else None."""
        session = self._session
        return session.namespace if session is not None and not session.raw.is_closed() else None

    async def settle(self, arrivals: Sequence[Arrival], seconds: float) -> list[Outcome]:
        """Store and commit `arrivals`; what each came to, in their order.

        Args:
            arrivals: in any order, keys may repeat.
            seconds: after which the outcome is unknown.

        Raises:
            StoreUnavailable: nothing was stored.
            StoreRefused: nothing was stored, because Postgres cannot hold one of these rows.
            UnknownOutcome: something may have been stored.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        session = await self.open(seconds)
        try:
            async with asyncio.timeout_at(deadline):
                if any(arrival.token is not None for arrival in arrivals):
                    return await _settle_locked(session, arrivals, seconds)
                return await _settle(session, arrivals, seconds)
        except ROW_AT_FAULT as error:
            log.warning("store_refused", error=type(error).__name__, rows=len(arrivals))
            raise StoreRefused("Postgres refused a row") from error
        except CUT as error:
            await self.close()
            log.warning("store_outcome_unknown", error=type(error).__name__)
            raise UnknownOutcome("Postgres did not confirm the commit") from error
        except asyncpg.PostgresError as error:
            log.warning("store_failed", error=type(error).__name__, sqlstate=error.sqlstate)
            if session.raw.is_closed():
                raise UnknownOutcome("Postgres ended the session") from error
            raise StoreUnavailable("Postgres did not store it") from error
        except BaseException:  # cancelled in the middle of a statement: the connection's state is anybody's guess
            await self.close()
            raise

    async def open(self, seconds: float) -> _Session:
        """Connect and prepare, unless that is done. Raises StoreUnavailable."""
        if self._session is not None and not self._session.raw.is_closed():
            return self._session
        await self.close()
        try:
            async with asyncio.timeout(seconds):
                self._session = await self._connect()
        except UNREACHABLE as error:
            log.warning("store_unreachable", error=type(error).__name__)
            raise StoreUnavailable("Postgres cannot be reached") from error
        return self._session

    async def close(self) -> None:
        """Close the connection for good: one whose last word was lost must not be used again."""
        session, self._session = self._session, None
        if session is not None:
            await asyncio.shield(_discard(session.connection))

    async def _connect(self) -> _Session:
        connection = await self._engine.connect()
        try:
            raw = await raw_connection(connection)
            return _Session(
                connection=connection,
                raw=raw,
                statements=await ArrivalStatements.prepare(raw),
                namespace=await identity(raw),
            )
        except BaseException:
            await asyncio.shield(_discard(connection))
            raise


async def _settle(session: _Session, arrivals: Sequence[Arrival], seconds: float) -> list[Outcome]:
    leaders: dict[bytes, Arrival] = {}
    for arrival in arrivals:
        leaders.setdefault(arrival.key, arrival)
    fresh, known = await session.statements.store([leaders[key] for key in sorted(leaders)], seconds)
    if len(fresh) == len(arrivals):
        return [Outcome.STORED] * len(arrivals)
    known |= {key: arrival.fingerprint for key, arrival in leaders.items() if arrival.event_id.bytes in fresh}
    asked = [key for key in leaders if key not in known]
    if asked:
        known |= await session.statements.fingerprints(asked, seconds)
    outcomes = [_judge(arrival, fresh, known) for arrival in arrivals]
    for arrival, outcome in zip(arrivals, outcomes, strict=True):
        if outcome is Outcome.CONFLICT:
            told_by = arrival.key + (arrival.fingerprint or b"")
            await quarantine.keep(session.raw, _aside(arrival, "id_conflict", told_by), seconds)
            log.error("event_conflict", source=arrival.source, external_id=arrival.external_id)
    return outcomes


async def _settle_locked(session: _Session, arrivals: Sequence[Arrival], seconds: float) -> list[Outcome]:
    """Use the tokens and store what they open, all in one transaction; what they do not open is set aside."""
    async with _transaction(session.raw, seconds):
        used = await bound.bind(session.raw, arrivals, seconds)
        passed = [arrival for arrival in arrivals if arrival.event_id.bytes not in used]
        outcomes = iter(await _settle(session, passed, seconds) if passed else ())
        keys = [arrival.key for arrival in arrivals if arrival.event_id.bytes in used]
        known = await session.statements.fingerprints(keys, seconds) if keys else {}
        settled = []
        for arrival in arrivals:
            first = used.get(arrival.event_id.bytes)
            settled.append(
                next(outcomes) if first is None else await _shut_out(session, arrival, known, first, seconds)
            )
        return settled


@asynccontextmanager
async def _transaction(connection: Connection, seconds: float) -> AsyncIterator[None]:
    """One transaction. Where the connection's state is not known any more nothing is said on it: the caller closes it.

    asyncpg's own says ROLLBACK even then, and would wait for ever for a server that is silent.
    """
    await connection.execute("BEGIN", timeout=seconds)
    try:
        yield
        await connection.execute("COMMIT", timeout=seconds)
    except CUT:
        raise
    except Exception:
        await connection.execute("ROLLBACK", timeout=seconds)
        raise


async def _shut_out(
    session: _Session, arrival: Arrival, known: Fingerprints, first: uuid.UUID, seconds: float
) -> Outcome:
    """A resend is a duplicate whatever token it brings. All else is kept for an operator: it may be about money."""
    if arrival.key in known and _judge(arrival, set(), known) is Outcome.DUPLICATE:
        return Outcome.DUPLICATE
    # A key that nothing is signed of may be another in each resend.
    told_by = arrival.body if arrival.trust == "sender" else arrival.key
    await quarantine.keep(session.raw, _aside(arrival, "token_repeated", told_by), seconds)
    log.error("callback_token_repeated", source=arrival.source, external_id=arrival.external_id, used_by=str(first))
    return Outcome.REPEATED


def _judge(arrival: Arrival, fresh: set[bytes], known: dict[bytes, bytes | None]) -> Outcome:
    if arrival.event_id.bytes in fresh:
        return Outcome.STORED
    if arrival.key not in known:
        raise UnknownOutcome("the row that stood in the way is gone")
    stored = known[arrival.key]
    agrees = stored is None or arrival.fingerprint is None or stored == arrival.fingerprint
    return Outcome.DUPLICATE if agrees else Outcome.CONFLICT


def _aside(arrival: Arrival, reason: str, told_by: bytes) -> quarantine.Odd:
    """What goes to quarantine. `told_by`, and not the body: it is the same in all resends."""
    return quarantine.Odd(
        event_id=arrival.event_id,
        source=arrival.source,
        provider=arrival.provider,
        reason=reason,
        external_id=arrival.external_id,
        digest=hashlib.sha256(reason.encode() + told_by).digest(),
        headers=arrival.headers,
        body=arrival.body,
    )


async def _discard(connection: AsyncConnection) -> None:
    try:
        (await raw_connection(connection)).terminate()
        await connection.invalidate()
        await connection.close()
    except UNREACHABLE as error:
        log.debug("connection_discarded", error=type(error).__name__)
