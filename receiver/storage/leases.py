"""Who runs what, and for how long: leasing due dispatches, keeping leases alive, giving them back.

Everything here runs on a connection of the dispatcher's own under READ COMMITTED, by the database's clock alone. The
statements, and why they keep order, stand in `claims`.
"""

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg
import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.errors import StoreUnavailable
from receiver.events import Trust
from receiver.storage import claims
from receiver.storage.engine import make_engine
from receiver.storage.own import KeptConnection, OwnConnection

log = structlog.get_logger(__name__)

_ANSWER_SECONDS: Final = 10.0
_SUSPECT_AFTER: Final = 2
"""Attempts after which a dispatch whose lease is lost once more is a suspect."""

_LOCKED_SECONDS: Final = 2
"""How long a frozen worker may keep the lanes that it was looking at."""


def lease_engine(url: str) -> AsyncEngine:
    """The engine of a `LeaseConnection`."""
    settings = {
        "default_transaction_isolation": "read committed",
        "idle_in_transaction_session_timeout": f"{_LOCKED_SECONDS}s",
        # A lease need not outlive a crash of Postgres: the run that rests on it commits after it, in WAL order.
        "synchronous_commit": "off",
        # The queue's statistics lag behind the queue: a plan made while it was empty must not scan it when it is full.
        "jit": "off",
        "plan_cache_mode": "force_generic_plan",  # planning a claim takes longer than running it
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "enable_sort": "off",
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
    trust: Trust


class Lease(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A dispatch that this worker owns until somebody else takes it over."""

    event_id: uuid.UUID
    handler: str
    epoch: int
    """Proves that it is still ours,"""
    leased_at: dt.datetime
    """and this that a run of that number was: a lease that a crash of Postgres takes back leaves its number to another,
    for leases do not wait for the disk."""
    attempt: int
    """The number of the run that it is leased for."""
    suspect: bool
    """It was lost more than once: it may be what kills workers. It is counted when it starts, not by its lease, and
    runs by itself: those who only died beside it must not be worn out with it."""
    lane: int | None
    """What it must stay in order with; None: nothing."""
    late: bool
    """A later event of its lane has been handled before it."""
    deferrals: int
    """How often its handler has said NotYet,"""
    deferred_seconds: float | None
    """and how long ago for the first time."""
    event: StoredEvent | None
    """None: the event's row is gone."""


class Ask(msgspec.Struct, frozen=True):
    """What is wanted of one handler."""

    most: int
    """Leases."""
    look: int
    """Due dispatches to look at for them: more than `most` where many of them stand in few lanes."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the queue brought."""

    leases: tuple[Lease, ...]
    seen: Mapping[str, int]
    """By handler: how many due dispatches were seen, those among them that must wait for others of their lane."""


class LeaseConnection:
    """The statements on a connection of their own, which is opened when first needed and again after each loss.

    Args:
        engine: see `lease_engine`.
        worker: who leases.
        seconds: how long a lease lasts.
    """

    def __init__(self, engine: AsyncEngine, *, worker: str, seconds: float) -> None:
        self._kept = KeptConnection(engine)
        self._worker = worker
        self._length = dt.timedelta(seconds=seconds)

    async def lease(self, asked: Mapping[str, Ask], *, suspects: bool = True) -> Claim:
        """Lease and commit due dispatches, of each handler those first that have been due for longest.

        Args:
            asked: by handler's name, how many; dispatches of others are left untouched.
            suspects: also those that would be suspects, see `Lease`.

        Eligible: ready and due, or leased by somebody whose lease ran out and who holds no lock on it, i.e. is not
        running it; in a lane only the oldest unfinished one, and only while no other is leased. The epoch rises by
        one, which fences the previous owner out; a lost lease leaves its record. The attempt is counted here already,
        which catches a handler that kills its worker.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer. What it leased then without telling will
                run out.
        """
        leased: list[asyncpg.Record] = []
        seen: Counter[str] = Counter()
        try:
            async with self._kept.use() as own:
                rows = await self._claim(own, asked, suspects=suspects)
                seen.update(row[1] for row in rows)
                leased += [row for row in rows if row[2] is not None]
                candidates = [row for row in rows if row[2] is None]
                if candidates:
                    leased += await self._lease_heads(own, candidates, asked)
        except StoreUnavailable as error:
            # What needs no lane is committed before the lanes are looked at: lost here, it would have to run out.
            if not leased:
                raise
            log.warning("lanes_not_leased", error=type(error.__cause__ or error).__name__)
        leased.sort(key=_turn)
        return Claim(leases=tuple(_lease(row) for row in leased), seen=seen)

    async def _claim(self, own: OwnConnection, asked: Mapping[str, Ask], *, suspects: bool) -> Sequence[asyncpg.Record]:
        """Lease and commit what has no lane; that, and the candidates for the second step."""
        return await own.raw.fetch(
            claims.CLAIM,
            list(asked),
            [ask.most for ask in asked.values()],
            self._length,
            self._worker,
            _SUSPECT_AFTER,
            suspects,
            [ask.look for ask in asked.values()],
            timeout=_ANSWER_SECONDS,
        )

    async def _lease_heads(
        self, own: OwnConnection, candidates: Sequence[asyncpg.Record], asked: Mapping[str, Ask]
    ) -> list[asyncpg.Record]:
        """Lease the heads of the candidates' lanes, park what stands behind them."""
        lanes = _lanes(candidates, asked)
        listed = ",".join(str(lane) for lane in sorted(lanes))
        await own.say(claims.LOCK.format(lanes=listed), _ANSWER_SECONDS)
        near = [row for row in candidates if row[5] in lanes]
        rows = await own.raw.fetch(
            claims.LANES,
            [row[0] for row in near],
            [row[1] for row in near],
            self._length,
            self._worker,
            _SUSPECT_AFTER,
            timeout=_ANSWER_SECONDS,
        )
        await own.say("COMMIT", _ANSWER_SECONDS)
        return rows

    async def renew(self, leases: Sequence[Lease]) -> None:
        """Let those of `leases` that are still ours, and not being run, last from now on.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer.
        """
        await self._fetch(claims.RENEW, *_columns(leases), self._length)

    async def give_back(self, leases: Sequence[Lease]) -> None:
        """Make those of `leases` that are still ours due at once, as if they had never been leased.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer; they will run out.
        """
        await self._fetch(claims.GIVE_BACK, *_columns(leases), [lease.attempt - 1 for lease in leases])

    async def end_deaf(self) -> None:
        """End sessions of ours, of whichever program, whose transaction waits within a statement for a lease by now.

        Their client has not heard an answer, or is frozen. Nobody else would end them, nor free what they lock.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer.
        """
        for pid, name, seconds, _ in await self._fetch(claims.END_DEAF, self._length):
            log.warning("deaf_session_ended", pid=pid, application_name=name, seconds=round(seconds, 1))

    async def close(self) -> None:
        """Close the connection."""
        await self._kept.close()

    async def _fetch(self, statement: str, *values: object) -> Sequence[asyncpg.Record]:
        async with self._kept.use() as own:
            return await own.raw.fetch(statement, *values, timeout=_ANSWER_SECONDS)


def _lanes(candidates: Sequence[asyncpg.Record], asked: Mapping[str, Ask]) -> set[int]:
    """The lanes to look at: of each handler as many as it may have leases."""
    chosen: dict[str, set[int]] = {}
    for row in candidates:
        lanes = chosen.setdefault(row[1], set())
        if len(lanes) < asked[row[1]].most:
            lanes.add(row[5])
    return set().union(*chosen.values())


def _columns(leases: Sequence[Lease]) -> tuple[list[uuid.UUID], list[str], list[int]]:
    return [lease.event_id for lease in leases], [lease.handler for lease in leases], [lease.epoch for lease in leases]


def _turn(row: asyncpg.Record) -> tuple[int, dt.datetime]:
    """Suspects by their attempts, which grow with each that they survive; all else by what has been due for longest."""
    return (row[3] if row[4] else 0, row[9])


def _lease(row: asyncpg.Record) -> Lease:
    return Lease(
        event_id=row[0],
        handler=row[1],
        epoch=row[2],
        leased_at=row[10],
        attempt=row[3],
        suspect=row[4],
        lane=row[5],
        late=row[6],
        deferrals=row[7],
        deferred_seconds=row[8],
        event=_event(row) if row[_FIRST] is not None else None,
    )


_FIRST: Final = 11
"""The event's first column."""


def _event(row: asyncpg.Record) -> StoredEvent:
    return StoredEvent(**dict(zip(StoredEvent.__struct_fields__, row[_FIRST:], strict=True)))
