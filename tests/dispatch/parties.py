"""Who does things in the world of `world.py`, each on one connection of its own, by the calls of the programs."""

import uuid
from collections.abc import Awaitable, Sequence
from typing import Final

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.errors import LeaseLost, RunNotBegun, StoreUnavailable, TransactionAborted, TransactionEnded
from receiver.storage.arrivals import Arrival, ArrivalStatements
from receiver.storage.leases import Ask, Lease, LeaseConnection
from receiver.storage.outcomes import Failure
from receiver.storage.replays import replay_event
from receiver.storage.runs import RunConnection
from receiver.storage.stepping import StepConnection
from tests.dispatch.oracle import Oracle
from tests.dispatch.sessions import Session

LEASE_SECONDS: Final = 3600.0
"""Nothing runs out by itself; `World.run_out` does it."""
HANDLERS: Final = ("pass", "block", "free")
"""The first two keep lanes; a dead one of the second blocks its lane."""
EFFECT: Final = text("INSERT INTO effect (event_id, handler, epoch) VALUES (:event_id, :handler, :epoch)")
EFFECT_RAW: Final = "INSERT INTO effect (event_id, handler, epoch) VALUES ($1, $2, $3)"
FAILED: Final = (
    StoreUnavailable,
    TransactionAborted,
    TransactionEnded,
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
)
"""What a call may raise whose connection was cut."""
CUT: Final = Failure(dead=False, delay=0, reason="store_unavailable", error=None)


class Party:
    """Somebody who is connected to the database.

    Args:
        session: its only connection.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    async def tried(self, call: Awaitable[None]) -> None:
        """Await `call`, which may fail if the connection was cut, and else must not."""
        try:
            await call
        except FAILED:
            if not self.session.hurt:
                raise


class Lessor(Party):
    """The part of a worker that leases."""

    def __init__(self, session: Session, engine: AsyncEngine, oracle: Oracle) -> None:
        super().__init__(session)
        self._engine = engine
        self._oracle = oracle
        self.leases: list[Lease] = []
        """The worker's, as far as it knows, and not begun."""
        self._connection = LeaseConnection(engine, worker=session.name, seconds=LEASE_SECONDS)

    async def open(self) -> None:
        await self._connection.renew([])
        self.session.hurt = False

    async def lease(self, most: int, look: int, *, suspects: bool) -> None:
        claim = await self._connection.lease({name: Ask(most, look) for name in HANDLERS}, suspects=suspects)
        self.leases += claim.leases
        self._oracle.claimed += claim.leases

    async def renew(self) -> None:
        await self._connection.renew(self.leases)

    async def give_back(self) -> None:
        leases = self.leases.copy()
        self.leases.clear()
        await self._connection.give_back(leases)

    async def restart(self) -> None:
        """A new process, that knows of no leases."""
        self.leases.clear()
        await self._connection.close()
        self._connection = LeaseConnection(self._engine, worker=self.session.name, seconds=LEASE_SECONDS)


class Runner(Party):
    """The part of a worker that runs: one slot."""

    def __init__(self, session: Session, engine: AsyncEngine, oracle: Oracle, leases: list[Lease]) -> None:
        super().__init__(session)
        self._engine = engine
        self._oracle = oracle
        self._leases = leases
        self.run: Lease | None = None
        """What is being run."""
        self._connection = RunConnection(engine)

    async def open(self) -> None:
        await self._connection.open()
        self.session.hurt = False

    async def begin(self, lease: Lease) -> None:
        try:
            await self._connection.begin(lease)
        except LeaseLost:
            self._oracle.lost.append(lease)
        except StoreUnavailable:
            self._leases.append(lease)  # to be begun again
            raise
        else:
            await self._handle(lease)

    async def succeed(self, following: Lease | None = None) -> None:
        """Commit, and go on with `following` in the same message."""
        lease, self.run = self._of_run(), None
        try:
            begun = await self._connection.succeed(lease, following, elapsed=lease.epoch % 2)  # every other one is slow
        except FAILED:
            if following is not None:
                self._leases.append(following)
            if not self.session.hurt:
                raise
            await self._fail(lease, CUT)
            return
        if following is not None and begun:
            await self._handle(following)
        elif following is not None:
            self._leases.append(following)

    async def carry(self, following: Lease) -> None:
        """Go on with `following`, whose first statement brings the commit with it."""
        lease, self.run = self._of_run(), None
        fate: list[asyncpg.PostgresError | None] = []
        try:
            if not await self._connection.succeed(lease, following, later=fate.append):
                self._leases.append(following)
                return
            await self._write(following)
            await self._connection.catch_up(over=True)  # who has a session is told nothing: its connection is cut
        except (*FAILED, RunNotBegun):
            begun = self._connection.begun  # if not, a session has had its connection cut by us
            self._leases.append(following)
            await self._connection.open()
            if not fate and self.session.hurt:
                await self._fail(lease, CUT)
            elif fate != [None] or not (self.session.hurt or begun is False):
                raise
        else:
            self.run = following

    async def fail(self, failure: Failure) -> None:
        lease, self.run = self._of_run(), None
        await self._fail(lease, failure)

    async def bury(self, lease: Lease) -> None:
        if not await self._connection.bury(lease, "attempts_exhausted", blocks=lease.handler == "block"):
            self._oracle.lost.append(lease)

    async def restart(self) -> None:
        """A new process, that knows of no leases."""
        self.run = None
        await self._connection.discard()
        self._connection = RunConnection(self._engine)

    async def _handle(self, lease: Lease) -> None:
        self.run = lease
        await self._write(lease)

    async def _write(self, lease: Lease) -> None:
        if lease.epoch % 2:
            await self._connection.lend_raw().execute(EFFECT_RAW, lease.event_id, lease.handler, lease.epoch)
        else:
            key = {"event_id": lease.event_id, "handler": lease.handler, "epoch": lease.epoch}
            await self._connection.lend().execute(EFFECT, key)

    def _of_run(self) -> Lease:
        assert self.run is not None
        return self.run

    async def _fail(self, lease: Lease, failure: Failure) -> None:
        await self._connection.open()
        if await self._connection.has_succeeded(lease):
            assert self._connection.committing, f"a success that nobody asked for: {lease}"
            return
        if not await self._connection.fail(lease, failure, 0.1):
            self._oracle.lost.append(lease)


class Clerk(Party):
    """A server that stores events, or an operator: one plain connection."""

    def __init__(self, session: Session, oracle: Oracle) -> None:
        super().__init__(session)
        self._oracle = oracle
        self._connection: asyncpg.Connection | None = None

    async def open(self) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self.session.url)
            self._statements = await ArrivalStatements.prepare(self._connection)
        self.session.hurt = False

    async def deliver(self, arrivals: Sequence[Arrival], *, slowly: bool) -> None:
        """Store and commit; slowly: with a step between the two."""
        await self._do("BEGIN", slowly)
        fresh, known = await self._statements.store(arrivals, 60)
        await self._do("COMMIT", slowly)
        missing = [each.key for each in arrivals if each.event_id.bytes not in fresh and each.key not in known]
        known |= await self._statements.fingerprints(missing, 60)
        for each in arrivals:
            assert each.event_id.bytes in fresh or known[each.key] == each.fingerprint
            self._oracle.acknowledged.add(each.key)

    async def replay_event(self, event_id: uuid.UUID, handler: str | None, *, again: bool, slowly: bool) -> None:
        await self._do("BEGIN", slowly)
        await replay_event(self._opened(), event_id, handler, again=again)
        await self._do("COMMIT", slowly)

    async def restart(self) -> None:
        if self._connection is not None:
            self._connection.terminate()

    async def _do(self, sql: str, really: bool) -> None:
        if really:
            await self._opened().execute(sql)

    def _opened(self) -> asyncpg.Connection:
        assert self._connection is not None
        return self._connection


class Replayer(Party):
    """The part of a worker that steps replay jobs."""

    def __init__(self, session: Session, engine: AsyncEngine) -> None:
        super().__init__(session)
        self._engine = engine
        self._connection = StepConnection(engine, worker=session.name)

    async def open(self) -> None:
        await self._connection.wait(HANDLERS)
        self.session.hurt = False

    async def take_steps(self, most: int) -> None:
        """Step what jobs there are to their ends.

        Args:
            most: dispatches in a step.
        """
        done = False
        while not done:
            async with self._connection.step(HANDLERS) as step:
                stepped = None if step is None else await step.replay(most, most)
                if step is not None and stepped is not None:
                    await step.save(stepped)
            done = step is None

    async def restart(self) -> None:
        await self._connection.close()
        self._connection = StepConnection(self._engine, worker=self.session.name)
