"""Group commit: all callbacks that arrive while a flush is in flight share the next one.

One flush is in flight per process. The queue is bounded, and so is the time in it; past either bound the callback
is refused and its provider calls again.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from receiver.errors import Overloaded, ReceiverError, UnknownOutcome
from receiver.inbox.outcome import Outcome
from receiver.storage.arrivals import Arrival

log = structlog.get_logger(__name__)

_SMALLEST_CAP: Final = 32
_SWEEP_SECONDS: Final = 0.1
_LEAST_SECONDS: Final = 0.25

Settled = Callable[[Outcome | ReceiverError], None]
"""Hears once what a callback came to: evidence of a commit, or why its provider must call again."""
Flush = Callable[[list["Waiting"], float], Awaitable[None]]


class Waiting:
    """One callback that waits for its commit."""

    __slots__ = ("_settled", "arrivals", "expires", "over")

    def __init__(self, arrivals: Sequence[Arrival], settled: Settled, expires: float) -> None:
        self.arrivals = arrivals
        self.expires = expires
        self.over = False
        self._settled = settled

    def settle(self, outcome: Outcome | ReceiverError) -> None:
        """Say what it came to, unless that was said before (by a mark, or because its time was up)."""
        if not self.over:
            self.over = True
            self._settled(outcome)


class Batcher:
    """The queue and the task that flushes it.

    Args:
        flush: stores a batch and settles each of it; gets the seconds that it may take.
        limit: most callbacks that may wait at once.
    """

    def __init__(self, flush: Flush, *, limit: int) -> None:
        self._flush = flush
        self._limit = limit
        self._queue: deque[Waiting] = deque()
        self._wake = asyncio.Event()
        self._in_flight = 0
        self._held = 0
        self._flushed_at = float("-inf")
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="receiver-batcher")
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """A flush is in flight: what is added now has to wait."""
        return self._in_flight > 0

    @property
    def depth(self) -> int:
        """How many callbacks wait for the next flush, or to get in line for it."""
        return len(self._queue) + self._held

    def flushed_within(self, seconds: float) -> bool:
        """Whether a flush succeeded in the last `seconds`."""
        return self._loop.time() - self._flushed_at < seconds

    def add(self, arrivals: Sequence[Arrival], seconds: float, settled: Settled) -> Waiting:
        """Put a callback's facts in line.

        Args and errors: as for `hold`.
        """
        waiting = self.hold(arrivals, seconds, settled)
        self.release(waiting)
        return waiting

    def hold(self, arrivals: Sequence[Arrival], seconds: float, settled: Settled) -> Waiting:
        """Take a callback that is not in line before `release` is called, exactly once.

        Args:
            arrivals: stored in one commit, or none of them.
            seconds: how long it may wait before it is refused.
            settled: called once; must not raise.

        Raises:
            Overloaded: the queue is full, or the program is shutting down.
        """
        if self.depth >= self._limit or self._closed:
            raise Overloaded("the queue is full" if not self._closed else "the program is shutting down")
        self._held += 1
        return Waiting(arrivals, settled, self._loop.time() + seconds)

    def release(self, waiting: Waiting) -> None:
        """Put in line what was held, unless it was settled meanwhile."""
        self._held -= 1
        if not waiting.over:
            self._queue.append(waiting)
            if self._in_flight:
                self._sweep_later()
        self._wake.set()

    async def close(self) -> None:
        """Flush what waits, then stop."""
        self._closed = True
        self._wake.set()
        await self._task
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _run(self) -> None:
        while self._queue or self._held or not self._closed:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            if batch := self._take():
                await self._flush_batch(batch)

    async def _flush_batch(self, batch: list[Waiting]) -> None:
        self._in_flight = len(batch)
        self._sweep_later()
        seconds = max(min(waiting.expires for waiting in batch) - self._loop.time(), _LEAST_SECONDS)
        try:
            await self._flush(batch, seconds)
            self._flushed_at = self._loop.time()
        except ReceiverError as error:
            _refuse(batch, error)
        except Exception as error:  # a fault of ours costs this batch its answer, not the next ones theirs
            log.exception("flush_failed", error=type(error).__name__)
            _refuse(batch, UnknownOutcome("the flush failed"))
        except BaseException:
            _refuse(batch, UnknownOutcome("the flush was interrupted"))
            raise
        finally:
            self._in_flight = 0

    def _take(self) -> list[Waiting]:
        # Half of all callers at most: with all of them in one batch they would all wait, then all come back, in
        # lock-step with the commit, and the processor would idle during it.
        cap = max(_SMALLEST_CAP, (len(self._queue) + self._last) // 2)
        batch: list[Waiting] = []
        while self._queue and len(batch) < cap:
            waiting = self._queue.popleft()
            if not waiting.over:
                batch.append(waiting)
        self._last = len(batch)
        return batch

    _last = 0

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Refuse those whose time is up; the flush in flight looks after its own."""
        self._sweeper = None
        now = self._loop.time()
        for waiting in self._queue:
            if waiting.expires < now:
                waiting.settle(Overloaded("waited too long for a commit"))
        if self._queue:
            self._sweep_later()


def _refuse(batch: list[Waiting], error: ReceiverError) -> None:
    for waiting in batch:
        waiting.settle(error)
