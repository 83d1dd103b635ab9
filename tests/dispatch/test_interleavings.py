"""Random interleavings of deliveries, leases, runs, expiries, crashes and replays, on the real database.

Each step is drawn by hypothesis; calls are stopped between their requests, so that others come in between, sessions are
cut before and after what they asked is done, leases run out under their workers. After every step the oracle is asked;
at the end all that is left is run, and nothing may be left over.

    make interleavings                   ten minutes of others each time; the seed is printed
    make interleavings SECONDS=60 SEED=7
"""

import asyncio
import os
import random
import sys
import time
import uuid
from collections.abc import Coroutine, Iterator, Sequence
from typing import Final, TypeVar

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from receiver.storage import leases, stepping
from receiver.storage.outcomes import Failure
from receiver.storage.selections import ReplayState, Selection
from receiver.storage.states import TRANSITIONS
from tests import judge
from tests.dispatch.oracle import TABLES
from tests.dispatch.parties import HANDLERS, Lessor
from tests.dispatch.sessions import Session
from tests.dispatch.world import Made, Worker, World

SECONDS: Final = os.environ.get("RECEIVER_INTERLEAVINGS")
SEED: Final = os.environ.get("RECEIVER_INTERLEAVINGS_SEED")
FAILURES: Final = {
    "retry": Failure(dead=False, delay=0, reason="handler_raised", error="E"),
    "retry later": Failure(dead=False, delay=1000, reason="handler_raised", error=None),
    "not yet": Failure(dead=False, delay=1000, reason="no_order", error=None, counts=False, deferred=True),
    "stopped": Failure(dead=False, delay=0, reason="worker_stopped", error=None, counts=False),
    "dead": Failure(dead=True, delay=0, reason="handler_raised", error=None),
    "blocking": Failure(dead=True, delay=0, reason="handler_raised", error=None, blocks=True),
}
COMMON: Final = settings(
    deadline=None,
    database=None,
    stateful_step_count=80,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
PLACES: Final = st.integers(0, 5)
NUMBERS: Final = st.integers(0, 11)
OUTCOMES: Final = st.sampled_from(["succeed", "go on", "carry"] * 2 + sorted(FAILURES))
GO_ON: Final = ("go on", "carry")
"""With the next run: its beginning in one message with the commit, and perhaps with its first statement."""
STOP: Final = st.sampled_from([None, None, None, 0, 1, 2, 3])
"""Before which of its requests a call stops; None: it runs through."""
MADE: Final = st.builds(
    Made,
    number=st.just(0),
    entity=st.sampled_from([0, 0, 0, 1]),
    handlers=st.sampled_from([("pass",), ("block",), ("free",), ("block", "pass"), HANDLERS]),
    at=st.none() | st.integers(0, 9),
)
Result = TypeVar("Result")
Thing = TypeVar("Thing")


class Interleavings(RuleBasedStateMachine):
    """Draws what happens next."""

    runner: asyncio.Runner
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, Made] = {}
        self.ids = 0
        self.calm = self.since_fault = 0
        self.do(self.world.reset())

    def do(self, what: Coroutine[None, None, Result]) -> Result:
        return self.runner.run(what)

    def idle(self, *, held: bool = False, running: bool = False) -> list[Worker]:
        """Workers whose slot is idle, or idle in a run."""
        free = [worker for worker in self.world.workers if not worker.runner.session.busy]
        return [each for each in free if (each.runner.run is not None) == running and (each.lessor.leases or not held)]

    def lessors(self, *, held: bool = False) -> list[Lessor]:
        lessors = [worker.lessor for worker in self.world.workers]
        return [each for each in lessors if not each.session.busy and (each.leases or not held)]

    def waiting(self) -> list[Session]:
        return [party.session for party in self.world.parties if party.session.waits]

    @initialize(numbers=st.lists(NUMBERS, min_size=2, max_size=6, unique=True), data=st.data(), calm=st.integers(0, 15))
    def begin_with(self, numbers: list[int], data: st.DataObject, calm: int) -> None:
        """Some events, and how many steps lie between faults at least."""
        self.calm = calm
        for number in numbers:
            self.deliver([number], data.draw(MADE), server=0, high=data.draw(PLACES), stop=None)

    @rule(
        numbers=st.lists(NUMBERS, min_size=1, max_size=3, unique=True),
        made=MADE,
        server=st.integers(0, 1),
        high=PLACES,
        stop=STOP,
    )
    def deliver(self, numbers: list[int], made: Made, server: int, high: int, stop: int | None) -> None:
        """New events, or again what was delivered before."""
        clerk = self.world.servers[server]
        if clerk.session.busy:
            return
        arrivals = []
        for number in numbers:
            self.ids += 1
            told = self.made.setdefault(number, made._replace(number=number))
            arrivals.append(told.arrival(uuid.UUID(int=(high << 64) + self.ids)))
        arrivals.sort(key=lambda arrival: arrival.key)
        self.do(self.world.begin(clerk, clerk.deliver(arrivals, slowly=stop is not None), stop=stop))

    def next_of(self, n: int, how: str = "succeed", place: int = 0) -> None:
        """A worker does what comes next, without a stop."""
        worker = self.world.workers[n % 3]
        runner, lessor = worker.runner, worker.lessor
        if not runner.session.busy and runner.run is not None:
            self.finish(worker, how, stop=None)
        elif not runner.session.busy and lessor.leases:
            self.begin_run(worker, place, stop=None)
        elif not lessor.session.busy:
            self.do(self.world.begin(lessor, lessor.lease(4, 8, suspects=True)))

    def begin_run(self, worker: Worker, place: int, *, stop: int | None) -> None:
        lease = worker.lessor.leases.pop(place % len(worker.lessor.leases))
        self.do(self.world.begin(worker.runner, worker.runner.begin(lease), stop=stop))

    def finish(self, worker: Worker, how: str, *, stop: int | None) -> None:
        runner = worker.runner
        if how in FAILURES:
            call = runner.fail(FAILURES[how])
        elif how in GO_ON and worker.lessor.leases and not worker.lessor.leases[0].suspect:
            following = worker.lessor.leases.pop(0)
            call = runner.carry(following) if how == "carry" else runner.succeed(following)
        else:
            call = runner.succeed()
        self.do(self.world.begin(runner, call, stop=stop))

    @rule(n=PLACES, how=OUTCOMES, place=PLACES, far=st.integers(1, 4))
    def work(self, n: int, how: str, place: int, far: int) -> None:
        """A worker goes on by up to four calls."""
        for _ in range(far):
            self.next_of(n, how, place)

    @rule(n=PLACES, most=st.integers(1, 4), more=st.integers(0, 4), suspects=st.booleans(), stop=STOP)
    def lease(self, n: int, most: int, more: int, suspects: bool, stop: int | None) -> None:
        lessors = self.lessors()
        if lessors:
            lessor = _one_of(lessors, n)
            self.do(self.world.begin(lessor, lessor.lease(most, most + more, suspects=suspects), stop=stop))

    @rule(n=PLACES, place=PLACES, stop=STOP)
    def begin(self, n: int, place: int, stop: int | None) -> None:
        able = self.idle(held=True)
        if able:
            self.begin_run(_one_of(able, n), place, stop=stop)
        else:
            self.next_of(n)

    @rule(n=PLACES, how=OUTCOMES, stop=STOP)
    def end_run(self, n: int, how: str, stop: int | None) -> None:
        able = self.idle(running=True)
        if able:
            self.finish(_one_of(able, n), how, stop=stop)
        else:
            self.next_of(n)

    @rule(n=PLACES, how=st.sampled_from(["bury", "give back", "renew"]), stop=STOP)
    def let_go(self, n: int, how: str, stop: int | None) -> None:
        """Of leases that are not begun, or keep them."""
        if how == "bury":
            for worker in self.idle(held=True)[:1]:
                call = worker.runner.bury(worker.lessor.leases.pop())
                self.do(self.world.begin(worker.runner, call, stop=stop))
        elif able := self.lessors(held=True):
            lessor = _one_of(able, n)
            call = lessor.renew() if how == "renew" else lessor.give_back()
            self.do(self.world.begin(lessor, call, stop=stop))

    @rule(n=PLACES, times=st.integers(1, 3))
    def step(self, n: int, times: int) -> None:
        """Something that has stopped between two requests goes on by some."""
        waiting = self.waiting()
        for session in waiting[n % len(waiting) :][:1] if waiting else ():
            for _ in range(times):
                if session.waits:
                    self.do(self.world.step(session))

    @rule(
        n=PLACES,
        numbers=st.none() | st.lists(NUMBERS, min_size=1, max_size=3, unique=True),
        made=MADE,
        stop=st.integers(1, 3),
        others=st.lists(st.tuples(PLACES, OUTCOMES), min_size=1, max_size=4),
    )
    def meanwhile(
        self, n: int, numbers: list[int] | None, made: Made, stop: int, others: list[tuple[int, str]]
    ) -> None:
        """A claim, or a delivery, stops in its middle, others do what comes next, and it goes on to its end."""
        if numbers is None:
            self.lease(n, 4, 4, suspects=True, stop=stop)
        else:
            self.deliver(numbers, made, server=n % 2, high=n, stop=stop)
        stopped = self.waiting()
        for m, how in others:
            self.next_of(m, how)
        for session in stopped:
            if session.waits:
                self.do(self.world.run_on(session))

    @rule(n=PLACES)
    def go_on(self, n: int) -> None:
        """Something that has stopped goes on to its end."""
        waiting = self.waiting()
        if waiting:
            self.do(self.world.run_on(_one_of(waiting, n)))

    @rule(
        which=st.integers(0, 9), how=st.sampled_from(["unasked", "unheard", "ended", "worker dies", "PostgreSQL dies"])
    )
    def fault(self, which: int, how: str) -> None:
        """A connection breaks, before or after what it is asked is done; a session is ended; somebody dies."""
        party = self.world.parties[which]
        if self.since_fault < self.calm:
            self.next_of(which)
            return
        self.since_fault = 0
        if how == "worker dies":
            self.do(self.world.crash(self.world.workers[which % 3]))
        elif how == "PostgreSQL dies":
            self.do(self.world.forget())
        elif party.session.gate.connected and how == "ended":
            self.do(self.world.end(party))
        elif party.session.gate.connected:
            self.do(self.world.cut(party, unheard=how == "unheard"))

    @rule(which=st.integers(0, 12), leased=st.booleans())
    def time_passes(self, which: int, leased: bool) -> None:
        self.do(self.world.run_out(which, leased=leased))

    @rule(which=st.integers(0, 12), handler=st.none() | st.sampled_from(HANDLERS), again=st.booleans(), stop=STOP)
    def replay_event(self, which: int, handler: str | None, again: bool, stop: int | None) -> None:
        clerk, stored = self.world.operator, self.do(self.world.stored())
        if stored and not clerk.session.busy:
            event_id, slowly = stored[which % len(stored)], stop is not None
            self.do(
                self.world.begin(clerk, clerk.replay_event(event_id, handler, again=again, slowly=slowly), stop=stop)
            )

    @rule(
        state=st.sampled_from(["dead", "dead", "retrying", "succeeded"]),
        handler=st.none() | st.sampled_from(HANDLERS),
        most=st.integers(1, 4),
        stop=STOP,
    )
    def replay_all(self, state: ReplayState, handler: str | None, most: int, stop: int | None) -> None:
        """A job, and whoever is there steps it, or those before it."""
        replayer = self.world.replayer
        if not replayer.session.busy:
            self.do(self.world.ask_for_replay(Selection(state=state, handler=handler)))
            self.do(self.world.begin(replayer, replayer.take_steps(most), stop=stop))

    @invariant()
    def promises_are_kept(self) -> None:
        self.since_fault += 1
        self.do(self.world.oracle.check())

    def teardown(self) -> None:
        self.do(self.world.quiet())


def _one_of(things: Sequence[Thing], n: int) -> Thing:
    return things[n % len(things)]


@pytest.fixture
def machine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Interleavings]]:
    """The machine with a world of its own."""
    # Between two requests of a claim much may happen here.
    for module in (leases, stepping):
        monkeypatch.setattr(module, "_LOCKED_SECONDS", 600)

    async def make() -> World:
        scene = await asyncpg.connect(database_url, server_settings=judge.SCENE)
        await judge.seat(scene)
        await scene.execute(TABLES)
        world = World(database_url, scene)
        await world.open()
        return world

    with asyncio.Runner() as runner:
        world = runner.run(make())

        class Machine(Interleavings):
            pass

        Machine.runner, Machine.world = runner, world
        try:
            yield Machine
        finally:
            runner.run(world.close())
            runner.run(world.scene.close())


@pytest.mark.timeout(900)
@pytest.mark.skipif(SECONDS is not None, reason="the long run is asked for")
def test_every_promise_holds_in_random_interleavings(machine: type[Interleavings]) -> None:
    run_state_machine_as_test(machine, settings=settings(COMMON, max_examples=32, derandomize=True))
    machine.runner.run(machine.world.reset())
    # No handler of this machine ends its transaction by SQL of its own; in test_runs.py some do.
    taken = machine.world.oracle.taken
    assert {each.name for each in TRANSITIONS} - {"disowned"} <= taken.keys(), taken


@pytest.mark.timeout(0)
@pytest.mark.skipif(SECONDS is None, reason="RECEIVER_INTERLEAVINGS says for how many seconds")
def test_for_long(machine: type[Interleavings]) -> None:
    until = time.monotonic() + float(SECONDS or 0)
    number = int(SEED) if SEED else random.SystemRandom().randrange(10**9)
    while time.monotonic() < until:
        sys.stderr.write(f"interleavings: seed {number}\n")
        run_state_machine_as_test(seed(number)(machine), settings=settings(COMMON, max_examples=200))
        number += 1
