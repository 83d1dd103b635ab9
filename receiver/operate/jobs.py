"""Replays of many dispatches: look first, then start one, watch it, pause, resume or cancel it."""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Literal, NoReturn, TypeAlias

import msgspec
import uuid_utils.compat

from receiver.operate.errors import AgainNeeded, NothingToReplay, RateWrong, ReplayOver, ReplayUnknown
from receiver.operate.replays import AGAIN
from receiver.storage import audit, replays, selections, workers
from receiver.storage.audit import Said
from receiver.storage.engine import Connection
from receiver.storage.replays import Job, JobState
from receiver.storage.selections import Counted, Cursor, Range, SampleRow, Selection

Counting: TypeAlias = Callable[[Connection, Selection, Range, int], Awaitable[Counted]]
Change: TypeAlias = Literal["pause", "resume", "cancel"]

_LOOK: Final = 20_000
"""Rows of one page of counting."""
_COUNT_SECONDS: Final = 3.0
"""Then the rest is estimated."""
_SAMPLE: Final = 10
_LOOK_SECONDS: Final = 0.3
_STALLED_SECONDS: Final = 5.0
_LEAST_RATE: Final = 0.001

_STATES: Final[dict[Change, tuple[JobState, tuple[JobState, ...]]]] = {
    "pause": ("paused", ("running",)),
    "resume": ("running", ("paused",)),
    "cancel": ("cancelled", ("running", "paused")),
}
_ACTIONS: Final[dict[Change, audit.Action]] = {
    "pause": "replay_pause",
    "resume": "replay_resume",
    "cancel": "replay_cancel",
}


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay would do."""

    matched: int
    """Dispatches that would be run again."""
    missing: int | None
    """Events that the handler was never owed; its worker decides which of them it wants. None: not asked for."""
    again: bool
    """They succeeded, so it would need `--again`."""
    sample: tuple[SampleRow, ...]
    """The first of them."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """How many fit."""

    matched: int
    complete: bool
    """All were counted."""


async def preview(connection: Connection, selection: Selection, heard: Callable[[float], None]) -> Preview:
    """Count all that fits, page by page, however long it takes, and show the first of it.

    Args:
        connection: see `database`.
        selection: which dispatches.
        heard: called with the share that has been looked at, 0 to 1.
    """
    span = await selections.whole(connection, selection)
    sample: list[SampleRow] = []
    matched = 0
    async for part, counted in _pages(connection, selection, span, selections.count):
        if counted.fitting and len(sample) < _SAMPLE:
            sample += await selections.sample(connection, selection, part, _LOOK, _SAMPLE - len(sample))
        matched += counted.fitting
        heard(_share(span, counted.end))
    missing = None
    if selection.creates:
        pages = _pages(connection, selection, span, selections.count_missing)
        missing = sum([counted.fitting async for _, counted in pages])
    return Preview(matched=matched, missing=missing, again=selection.state == "succeeded", sample=tuple(sample))


async def start(
    connection: Connection, selection: Selection, said: Said, *, rate: float | None = None, again: bool = False
) -> Job:
    """Start a job, and record it in the audit log in the same commit.

    Args:
        connection: see `database`.
        selection: which dispatches.
        said: by whom, and why.
        rate: most per second, at least 0.001; None: as fast as it goes.
        again: what succeeded is really meant.

    Raises:
        AgainNeeded: the selection is of what succeeded, and `again` was not said.
        RateWrong: `rate` is less, or not finite.
        NothingToReplay: nothing fits.
    """
    if rate is not None and not _LEAST_RATE <= rate < math.inf:
        raise RateWrong(f"no replay goes at the rate {rate}: it is a finite number of {_LEAST_RATE} or more")
    if selection.state == "succeeded" and not again:
        raise AgainNeeded(AGAIN)
    span = await selections.whole(connection, selection)
    found = await _estimate(connection, selection, span)
    if not found.matched and found.complete:
        raise NothingToReplay("nothing fits; `receiver dead list` and `receiver events list` show what is there")
    job_id = uuid_utils.compat.uuid7()
    async with connection.transaction():
        estimated = selection.creates or not found.complete
        job = await replays.start(
            connection, job_id, selection, span, rate=rate, matched=found.matched, estimated=estimated
        )
        details = {"asked": selection, "rate": rate, "matched": found.matched, "again": again}
        await audit.write(connection, "replay_start", job_id, said, details)
    return job


async def show(connection: Connection, wanted: str) -> Job:
    """One job.

    Raises:
        ReplayUnknown: there is none with this id.
    """
    job = await replays.get(connection, _job_id(wanted))
    return job or _unknown(wanted)


async def change(connection: Connection, wanted: str, to: Change, said: Said) -> Job:
    """Pause, resume or cancel a job, and record it in the audit log in the same commit.

    One that is so already stays so, and nothing is recorded.

    Raises:
        ReplayUnknown: there is no such job.
        ReplayOver: it is done or cancelled.
    """
    state, before = _STATES[to]
    async with connection.transaction():
        job = await replays.change(connection, _job_id(wanted), state, before)
        if job is not None:
            await audit.write(connection, _ACTIONS[to], job.id, said, {"handled": job.handled})
            return job
    job = await show(connection, wanted)
    if job.state != state:
        raise ReplayOver(f"the replay {job.id} is {job.state}; start another one for what is left")
    return job


async def follow(connection: Connection, job: Job, heard: Callable[[Job, str | None], None]) -> Job:
    """Watch a job until it no longer runs.

    Args:
        connection: see `database`.
        job: as it was.
        heard: called after each look, with the job and, if it cannot go on, what it waits for.
    """
    while job.state == "running":
        heard(job, await _waits_for(connection, job))
        await asyncio.sleep(_LOOK_SECONDS)
        job = await replays.get(connection, job.id) or _unknown(str(job.id))
    heard(job, None)
    return job


async def _waits_for(connection: Connection, job: Job) -> str | None:
    if job.asked.creates and job.asked.handler and not await workers.is_known(connection, job.asked.handler):
        return _unknown_to_all(job.asked.handler)
    if job.behind is not None:
        known = await workers.is_known(connection, job.behind)
        return f"{job.behind} has enough to do as it is" if known else _unknown_to_all(job.behind)
    if _is_put_off(job):
        return "its last step failed; the log of the worker that took it says why"
    since = max(job.next_at, job.stepped_at or job.created_at)
    if (job.read_at - since).total_seconds() < _STALLED_SECONDS:
        return None
    alive = any(worker.state == "running" for worker in await workers.workers(connection))
    return "no worker takes its next step" if alive else "no worker is alive; `receiver work` starts one"


def _is_put_off(job: Job) -> bool:
    """Whether its next step is further away than its rate can be the reason for."""
    pause = (job.next_at - (job.stepped_at or job.created_at)).total_seconds()
    return job.next_at > job.read_at and pause > 1 + (1 / job.rate if job.rate else 0)


def _unknown_to_all(handler: str) -> str:
    return f"no live worker knows the handler {handler}; `receiver work` starts one"


async def _estimate(connection: Connection, selection: Selection, span: Range) -> Estimate:
    """Count for a few seconds; what is not counted by then is taken to be like what is."""
    matched, complete = 0, True
    for counting in (selections.count, selections.count_missing) if selection.creates else (selections.count,):
        deadline = time.monotonic() + _COUNT_SECONDS
        found = 0
        async for _, counted in _pages(connection, selection, span, counting):
            found += counted.fitting
            if counted.end is not None and time.monotonic() > deadline:
                found, complete = int(found / _share(span, counted.end)), False
                break
        matched += found
    return Estimate(matched=matched, complete=complete)


async def _pages(
    connection: Connection, selection: Selection, span: Range, counting: Counting
) -> AsyncIterator[tuple[Range, Counted]]:
    """Each page of `span` with what was counted in it."""
    rest: Range | None = span
    while rest is not None:
        counted = await counting(connection, selection, rest, _LOOK)
        yield rest, counted
        rest = None if counted.end is None else Range(after=counted.end, last=span.last)


def _share(span: Range, reached: Cursor | None) -> float:
    """How much of `span` has been looked at, by its ids, which grow with time: above 0, at most 1."""
    if reached is None:
        return 1.0
    length = span.last.int - span.after.event_id.int
    return max((reached.event_id.int - span.after.event_id.int) / max(length, 1), 1e-9)


def _job_id(wanted: str) -> uuid.UUID:
    try:
        return uuid.UUID(wanted)
    except ValueError:
        return _unknown(wanted)


def _unknown(wanted: str) -> NoReturn:
    raise ReplayUnknown(f"no replay has the id {wanted!r}; `receiver replays list` shows them")
