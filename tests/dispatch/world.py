"""A small world over one database: workers, servers and an operator; who does what next is decided from outside."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Coroutine, Sequence
from typing import Final, NamedTuple, TypeAlias

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.inbox.key import dedup_key
from receiver.storage.arrivals import Arrival
from receiver.storage.connection import run_engine
from receiver.storage.leases import lease_engine
from receiver.storage.replays import start
from receiver.storage.selections import Cursor, Range, Selection
from receiver.storage.states import UNFINISHED, State, quoted
from receiver.storage.stepping import step_engine
from tests.dispatch.gate import Gate
from tests.dispatch.oracle import Oracle
from tests.dispatch.parties import HANDLERS, LEASE_SECONDS, Clerk, Lessor, Replayer, Runner
from tests.dispatch.sessions import Session, settle

START: Final = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
_MOST_ROUNDS: Final = 300
_TICKS: Final = 20
"""Of the loop, in which a program hears that its connection is gone."""
Party: TypeAlias = Lessor | Runner | Clerk | Replayer

_MOVE: Final = """
UPDATE receiver.dispatch AS d SET due_at = now() - number * interval '1 second'
FROM (SELECT event_id, handler, row_number() OVER (ORDER BY due_at, event_id, handler) AS number FROM (
    SELECT event_id, handler, due_at FROM receiver.dispatch
    WHERE state = ANY($1) ORDER BY event_id, handler OFFSET $2 LIMIT $3 FOR UPDATE SKIP LOCKED
) AS free) AS moved
WHERE d.event_id = moved.event_id AND d.handler = moved.handler
"""
"""What is locked is being run, replayed or moved at this moment."""
_QUICK: Final = ("leased", "parked", "renewed", "taken over", "overtaken")
"""Transitions that do not wait for the disk, and look like none that does."""
_FORGET: Final = """
WITH gone AS (
    DELETE FROM judge.change WHERE number > (
        SELECT coalesce(max(number), 0) FROM judge.change WHERE NOT transitions && $1
    ) RETURNING number, old, new
), lost AS (
    DELETE FROM receiver.attempt AS a USING gone
    WHERE outcome = 'lost' AND (a.event_id::text, a.handler, a.epoch::text)
        = (old->>'event_id', old->>'handler', old->>'epoch')
)
UPDATE receiver.dispatch AS d
SET (state, epoch, attempts, due_at, worker, leased_at)
    = (was.state, was.epoch, was.attempts, was.due_at, was.worker, was.leased_at)
FROM (
    SELECT DISTINCT ON (new->>'event_id', new->>'handler') old
    FROM gone ORDER BY new->>'event_id', new->>'handler', number
) AS first,
    jsonb_populate_record(NULL::receiver.dispatch, old) AS was
WHERE d.event_id = was.event_id AND d.handler = was.handler
"""
_END: Final = "SELECT pg_terminate_backend(pid, $2) FROM unnest($1::int[]) AS t(pid)"
_DYING_MS: Final = 60_000
_UNFINISHED: Final = f"SELECT count(*) FROM receiver.dispatch WHERE state IN ({quoted(UNFINISHED)})"


class Made(NamedTuple):
    """What a provider has to tell."""

    number: int
    """Makes its key."""
    entity: int
    handlers: tuple[str, ...]
    at: int | None
    """The second at which it happened, if that is signed."""

    def arrival(self, event_id: uuid.UUID) -> Arrival:
        """One delivery of it."""
        name = f"evt_{self.number}"
        return Arrival(
            key=dedup_key("stripe", name, 0),
            event_id=event_id,
            fingerprint=bytes(16),
            source="stripe",
            provider="stripe",
            external_id=name,
            type="charge.paid",
            entity_id=str(self.entity),
            livemode=True,
            occurred_at=None if self.at is None else START + dt.timedelta(seconds=self.at),
            headers={},
            body=b"{}",
            owed=tuple((name, self._lane(name)) for name in self.handlers),
        )

    def _lane(self, handler: str) -> int | None:
        return None if handler == "free" else self.entity * len(HANDLERS) + HANDLERS.index(handler) - 5


class Worker:
    """One process that leases and runs."""

    def __init__(self, lessor: Lessor, runner: Runner) -> None:
        self.lessor = lessor
        self.runner = runner


class World:
    """All parties, and the connection with which the weather is made.

    Args:
        url: of the database, which has `oracle.TABLES`.
        scene: a connection that is not judged.
    """

    def __init__(self, url: str, scene: asyncpg.Connection) -> None:
        self.scene = scene
        self.oracle = Oracle(scene)
        self.workers: list[Worker] = []
        self.servers: list[Clerk] = []
        self.operator: Clerk
        self.replayer: Replayer
        self._url = url
        self._engines: list[AsyncEngine] = []
        self._gates: list[Gate] = []
        self._orphans: set[int] = set()

    async def open(self) -> None:
        """Connect everybody."""
        for n in (1, 2, 3):
            leasing, running = await self._session(f"w{n}"), await self._session(f"w{n} run")
            engines = lease_engine(leasing.url), run_engine(running.url, size=1, lease_seconds=LEASE_SECONDS)
            self._engines += engines
            lessor = Lessor(leasing, engines[0], self.oracle)
            runner = Runner(running, engines[1], self.oracle, lessor.leases)
            self.workers.append(Worker(lessor, runner))
        self.servers = [Clerk(await self._session(f"server {n}"), self.oracle) for n in (1, 2)]
        self.operator = Clerk(await self._session("operator"), self.oracle)
        stepping = await self._session("replayer")
        self._engines.append(step_engine(stepping.url))
        self.replayer = Replayer(stepping, self._engines[-1])

    @property
    def parties(self) -> list[Party]:
        """Everybody."""
        parts = [part for worker in self.workers for part in (worker.lessor, worker.runner)]
        return [*parts, *self.servers, self.operator, self.replayer]

    async def begin(self, party: Party, call: Coroutine[None, None, None], *, stop: int | None = None) -> None:
        """Have a party that is not busy begin a call, and wait until it is over, waits for a step, or is blocked.

        Args:
            party: who.
            call: what it does.
            stop: before which of its requests it stops, from 0; None: before none.
        """
        if party.session.hurt and not (isinstance(party, Runner) and party.run):
            await party.open()
        if isinstance(party, Lessor):
            await self.oracle.look(party.session.name)
        party.session.start(party.tried(call), stepped=stop is not None)
        await self.settle()
        for _ in range(stop or 0):
            await self.step(party.session)

    async def step(self, session: Session) -> None:
        """Let one request of a call through."""
        if session.waits:
            await self.oracle.look(session.name)
            session.step()
            await self.settle()

    async def run_on(self, session: Session) -> None:
        """Let a call run to its end, if nobody blocks it."""
        await self.oracle.look(session.name)
        session.run_on()
        await self.settle()

    async def cut(self, party: Party, *, unheard: bool) -> None:
        """Break a connection; its program lives.

        Args:
            party: whose.
            unheard: the request that waits is carried out, and its answer lost; otherwise it is lost itself.
        """
        session = party.session
        session.hurt = True
        if unheard and session.waits:
            session.gate.deaf = True
            session.step()
            await session.answered(self.scene)
        self._orphans.add(session.gate.pid)
        session.gate.cut()
        await self._programs_hear()
        await self.settle()

    async def end(self, party: Party) -> None:
        """PostgreSQL ends a session, as it does when a transaction was idle for too long."""
        session = party.session
        session.hurt = True
        ended = session.gate.pid
        self._orphans.add(ended)
        await self.scene.execute(_END, [ended], 0)
        await self.settle()
        await self._gates_hear([ended])

    async def crash(self, worker: Worker) -> None:
        """A worker dies; another one takes its name."""
        for party in (worker.lessor, worker.runner):
            self._orphans.add(party.session.gate.pid)
            await party.session.abandon()
            await party.restart()
            party.session.hurt = True
        await self.settle()

    async def forget(self) -> None:
        """PostgreSQL crashes: all sessions end, and gone is what was committed last without a wait for the disk.

        That is a lease, whose epoch then comes again. What its run had committed would have waited, for both.
        """
        sessions = [party.session for party in self.parties]
        for session in sessions:
            session.gate.fall()
            session.hurt = True
        ended = [*self._orphans, *(session.gate.pid for session in sessions)]
        for wait in (0, _DYING_MS):  # all at once: none does what the death of another one lets it
            await self.scene.execute(_END, ended, wait)
        await self.oracle.check()
        await self.scene.execute(_FORGET, _QUICK)
        await self._gates_hear(ended)
        for session in sessions:
            session.gate.rise()
        await self.settle()

    async def run_out(self, which: int, *, leased: bool) -> None:
        """Time passes for a dispatch, or for all that are due later if there are fewer than `which`.

        Args:
            which: of those in question, in the order of their ids.
            leased: leases end; else pauses do.
        """
        states = [State.LEASED] if leased else [State.READY, State.WAITING]
        if await self.scene.execute(_MOVE, states, which, 1) == "UPDATE 0":
            await self.scene.execute(_MOVE, states, 0, None)

    async def stored(self) -> list[uuid.UUID]:
        """The ids of the events that have dispatches, in their order."""
        rows = await self.scene.fetch("SELECT DISTINCT event_id FROM receiver.dispatch ORDER BY 1")
        return [row[0] for row in rows]

    async def ask_for_replay(self, selection: Selection) -> None:
        """Add a job that replays all that is selected."""
        span = Range(after=Cursor(uuid.UUID(int=0), ""), last=uuid.UUID(int=2**128 - 1))
        await start(self.scene, uuid.uuid4(), selection, span, rate=None, matched=0, estimated=True)

    async def quiet(self) -> None:
        """No more faults: one honest worker runs all that is left, and dead ones are replayed, until nothing is."""
        while busy := [party.session for party in self.parties if party.session.busy]:
            waiting = [session for session in busy if session.waits]
            for session in waiting:
                await self.run_on(session)
            for runner in [] if waiting else self._in_a_run():  # what is busy waits for these
                await self.end(runner)
            await self.settle()
            await self.oracle.check()
        for worker in self.workers:
            await self.crash(worker)
        for _ in range(_MOST_ROUNDS):
            if not await self._honest_round(self.workers[0]):
                break
        await self.oracle.check_the_end()

    def _in_a_run(self) -> list[Runner]:
        """Whose handler does nothing at the moment."""
        runners = [worker.runner for worker in self.workers]
        return [runner for runner in runners if runner.run is not None and not runner.session.busy]

    async def _honest_round(self, worker: "Worker") -> bool:
        """Run what can be leased; whether there is more to do."""
        await self.settle()
        await self.scene.execute(_MOVE, list(UNFINISHED), 0, None)
        await self.begin(worker.lessor, worker.lessor.lease(10, 10, suspects=True))
        await self.oracle.check()
        for lease in worker.lessor.leases.copy():
            await self.begin(worker.runner, worker.runner.begin(lease))
            await self.begin(worker.runner, worker.runner.succeed())
        if worker.lessor.leases:
            worker.lessor.leases.clear()
            return True
        if not await self.scene.fetchval(_UNFINISHED + " OR state = 'dead'"):
            return False
        await self.ask_for_replay(Selection(state="dead"))
        await self.begin(self.replayer, self.replayer.take_steps(100))
        return True

    async def reset(self) -> None:
        """Begin anew, with empty tables."""
        for party in self.parties:
            if party.session.busy or party.session.hurt or isinstance(party, Runner):
                self._orphans.add(party.session.gate.pid)
                await party.session.abandon()
            await party.restart()
            party.session.hurt = True
        await self.scene.execute(_END, [*self._orphans], 0)
        await self.settle()
        await self.oracle.forget()

    async def close(self) -> None:
        """Let go of everything."""
        for party in self.parties:
            await party.session.abandon()
            await party.restart()
        for engine in self._engines:
            await engine.dispose()
        for gate in self._gates:
            await gate.close()

    async def settle(self) -> None:
        """Wait until nothing moves, and hear what calls that are over came to."""
        sessions = [party.session for party in self.parties]
        await settle(self.scene, sessions, self._orphans)
        for session in sessions:
            session.reap()

    async def _gates_hear(self, ended: Sequence[int]) -> None:
        """Wait until no program is connected to these backends, and knows it. It may have connected anew by then."""
        for party in self.parties:
            while party.session.gate.pid and party.session.gate.pid in ended:
                await party.session.gate.changes(0.01)
        await self._programs_hear()

    @staticmethod
    async def _programs_hear() -> None:
        for _ in range(_TICKS):
            await asyncio.sleep(0)

    async def _session(self, name: str) -> Session:
        gate = Gate(self._url)
        self._gates.append(gate)
        return Session(name, gate, await gate.open())
