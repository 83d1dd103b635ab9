"""Steps replay jobs in the background of a worker, as fast as their rate allows."""

import asyncio
import math
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from receiver.dispatch.content import Readers
from receiver.dispatch.missing import missing, wanted
from receiver.dispatch.pauses import RECONNECT
from receiver.handlers import Handler, Registry
from receiver.observability.failpoints import failpoint
from receiver.storage.selections import Cursor
from receiver.storage.stepping import StepConnection
from receiver.storage.steps import Candidate, Step, Stepped

log = structlog.get_logger(__name__)

MOST: Final = 1_000
"""Dispatches in one step: some 50 ms."""
_LOOK: Final = 5_000
"""Rows that are looked at for them."""
_EVENTS: Final = 1_000
"""Events that are looked at for missing dispatches."""
_IDLE_SECONDS: Final = 1.0
"""Between looks while there is no job,"""
_BUSY_SECONDS: Final = 0.1
"""and while another worker steps the only one."""
_DUE: Final = 2_000
"""Dispatches of one handler; while so many are due, nothing is added to them: what arrives now must not queue behind
all that a replay could make due,"""
_HOLD_SECONDS: Final = 0.2
"""and so it is looked again after that."""
_STOP_SECONDS: Final = 3.0
"""For a step to be broken off: a connection that is just being made has two seconds from SQLAlchemy to end in order."""
_STEPS_PER_SECOND: Final = 4
"""Of a job with a rate: what it allows is spread evenly."""


class Replayer:
    """Steps jobs from `start` to `stop`.

    Args:
        connection: its own.
        registry: jobs that create dispatches of other handlers are left to other workers.
        readers: by source, how bodies become `event.data`.
        nudge: tells all workers that something is due; must not raise.
        draw: random numbers from 0 to 1.
    """

    def __init__(
        self,
        connection: StepConnection,
        *,
        registry: Registry,
        readers: Readers,
        nudge: Callable[[], Awaitable[None]],
        draw: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._registry = registry
        self._readers = readers
        self._nudge = nudge
        self._draw = draw
        self._seen: dict[uuid.UUID, set[str]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for jobs."""
        self._task = asyncio.create_task(self._run(), name="receiver-replayer")

    async def stop(self) -> None:
        """Break off; a step that is not committed was not taken."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_STOP_SECONDS)
        await self._connection.close()

    async def _run(self) -> None:
        tries = 0
        while True:
            try:
                pause = await self._turn()
                tries = 0
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end replays in silence
                tries += 1
                log.warning("replay_failed", error=type(error.__cause__ or error).__name__)
                pause = max(_IDLE_SECONDS, RECONNECT.delay(tries, self._draw()))
            await asyncio.sleep(pause)

    async def _turn(self) -> float:
        """Take a step if one may be taken; seconds until the next look."""
        wait = await self._connection.wait(self._registry.names())
        if wait is None:
            self._seen.clear()
        if wait is None or wait > 0:
            return _IDLE_SECONDS if wait is None else min(wait, _IDLE_SECONDS)
        async with self._connection.step(self._registry.names()) as step:
            stepped = None if step is None else await self._step(step)
        if stepped is None:
            return _BUSY_SECONDS
        if stepped.replayed + stepped.created:
            await self._nudge()
        return 0.0

    async def _step(self, step: Step) -> Stepped | None:
        """Take the step, unless the handlers of the steps before have enough to do."""
        handler = step.job.asked.handler
        seen = self._seen.setdefault(step.job.id, set() if handler is None else {handler})
        behind = await step.behind(seen, _DUE)
        if behind is not None:
            await step.hold(behind, _HOLD_SECONDS)
            return None
        stepped = await self._portion(step, portion(step.job.rate))
        seen |= stepped.handlers
        await step.save(stepped)
        failpoint("replay_before_commit")
        return stepped

    async def _portion(self, step: Step, most: int) -> Stepped:
        if step.job.asked.creates:
            return await self._create(step, self._registry.get(step.job.asked.handler or ""), most)
        return await step.replay(_LOOK, most)

    async def _create(self, step: Step, handler: Handler, most: int) -> Stepped:
        """Of the next events, create what is missing and replay what is dead."""
        events = await step.candidates(_EVENTS)
        chosen, looked_at = _cut(handler, events, most)
        new = [one for one in chosen if one.state is None]
        dead = [one.id for one in chosen if one.state is not None]
        created = await step.create(await missing(step, handler, new, self._readers))
        replayed = await step.replay_dead(dead)
        return Stepped(
            looked_at=looked_at,
            created=created,
            replayed=replayed,
            skipped=len(chosen) - created - replayed,
            end=Cursor(events[looked_at - 1].id) if events else step.job.span.after,
            done=looked_at == len(events) < _EVENTS,
        )


def portion(rate: float | None) -> int:
    """How many dispatches one step may take of a job.

    Args:
        rate: of the job, per second.
    """
    return MOST if rate is None else max(1, min(MOST, math.ceil(rate / _STEPS_PER_SECOND)))


def _cut(handler: Handler, events: Sequence[Candidate], most: int) -> tuple[list[Candidate], int]:
    """The first `most` of `events` that are to be run, and how many events had to be looked at for them."""
    chosen: list[Candidate] = []
    for looked_at, one in enumerate(events, 1):
        if one.fits and (one.state == "dead" or wanted(handler, one)):
            chosen.append(one)
            if len(chosen) == most:
                return chosen, looked_at
    return chosen, len(events)
