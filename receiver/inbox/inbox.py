"""What ingress calls: give it verified facts, get evidence of a committed row or an error that means "call again"."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.errors import ReceiverError, StoreRefused, StoreUnavailable
from receiver.inbox.aside import Aside
from receiver.inbox.batch import Batcher, Settled, Waiting
from receiver.inbox.lookups import Lookups
from receiver.inbox.outcome import Outcome
from receiver.inbox.store import Store
from receiver.inbox.tally import Tally
from receiver.marks import Marks
from receiver.storage.arrivals import Arrival
from receiver.storage.quarantine import Odd

_OPEN_SECONDS: Final = 5.0
_MOSTLY_REPEATS: Final = 0.7
_FRESH_SECONDS: Final = (
    2.0  # a Postgres that was not heard for longer may be gone without a word: marks must not hide it
)
_WEIGHT: Final = 0.01
_ORDER: Final = (Outcome.REPEATED, Outcome.CONFLICT, Outcome.STORED)


class Inbox:
    """The dedup table, the marks in front of it and the group commit, for one process.

    Args:
        engine: autocommit, one connection for the flushes and one for the tally.
        marks: Redis, which may be gone at any time.
        limit: most callbacks that may wait at once.
    """

    def __init__(self, engine: AsyncEngine, marks: Marks, *, limit: int) -> None:
        self._marks = marks
        self._store = Store(engine)
        self._tally = Tally(engine)
        self._aside = Aside(engine)
        self._batcher = Batcher(self._flush, limit=limit)
        self._lookups = Lookups(marks, lambda: self._store.namespace, self._batcher)
        self._repeats = 0.0  # the moving share of duplicates

    def submit(self, arrivals: Sequence[Arrival], seconds: float, settled: Settled) -> None:
        """Store the facts of one callback.

        Args:
            arrivals: one row for each fact of the callback.
            seconds: how long the answer may take.
            settled: called once, with the outcome when a commit is certain, or with the error (StoreUnavailable,
                StoreRefused, UnknownOutcome, Overloaded) that means "call again". Must not raise.

        Raises:
            Overloaded: the queue is full; `settled` is not called.
        """

        def heard(outcome: Outcome | ReceiverError) -> None:
            duplicate = outcome is Outcome.DUPLICATE
            self._repeats += _WEIGHT * (duplicate - self._repeats)
            if duplicate:
                for arrival in arrivals:
                    self._tally.add(arrival.key)
            settled(outcome)

        held = self._repeats > _MOSTLY_REPEATS and self._batcher.flushed_within(_FRESH_SECONDS)
        take = self._batcher.hold if held else self._batcher.add
        waiting = take(arrivals, seconds, heard)
        # Where most are new and Postgres is idle, the question would not be answered first.
        if held or self._batcher.busy:
            self._lookups.ask(waiting, held=held)

    async def set_aside(self, odds: Sequence[Odd], seconds: float) -> None:
        """Keep what is genuine and must not run; returns only when it is certain that all of it is committed.

        Raises:
            StoreUnavailable: the provider must call again.
        """
        await self._aside.keep(odds, seconds)

    @property
    def depth(self) -> int:
        """How many callbacks wait for a commit."""
        return self._batcher.depth

    async def open(self) -> None:
        """Connect ahead of the first callback; a Postgres that is not there yet is no error."""
        with suppress(StoreUnavailable):
            await self._store.open(_OPEN_SECONDS)

    async def close(self) -> None:
        """Commit what waits, write the tally, disconnect."""
        await self._batcher.close()
        await self._tally.close()
        await self._store.close()

    async def _flush(self, batch: list[Waiting], seconds: float) -> None:
        rows = [arrival for waiting in batch for arrival in waiting.arrivals]
        try:
            outcomes = await self._store.settle(rows, seconds)
        except StoreRefused:
            if len(batch) == 1:
                raise
            await self._flush_singly(batch, seconds)
            return
        owed = self._leave_marks(rows, outcomes)
        position = 0
        for waiting in batch:
            own = outcomes[position : position + len(waiting.arrivals)]
            position += len(waiting.arrivals)
            waiting.settle(_combined(own))
            if len(own) > 1:
                self._count_repeats(waiting.arrivals, own)
        if owed:
            self._marks.nudge()

    def _count_repeats(self, arrivals: Sequence[Arrival], outcomes: Sequence[Outcome]) -> None:
        """Count what a batch repeats beside what is new in it. One that only repeats is counted when it is settled."""
        if _combined(outcomes) is not Outcome.DUPLICATE:
            for arrival, outcome in zip(arrivals, outcomes, strict=True):
                if outcome is Outcome.DUPLICATE:
                    self._tally.add(arrival.key)

    async def _flush_singly(self, batch: list[Waiting], seconds: float) -> None:
        for waiting in batch:
            try:
                await self._flush([waiting], seconds)
            except ReceiverError as error:
                waiting.settle(error)

    def _leave_marks(self, rows: Sequence[Arrival], outcomes: Sequence[Outcome]) -> bool:
        """Leave a mark for each row that is stored; whether any of them is owed to a handler."""
        namespace = self._store.namespace
        owed = False
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome in {Outcome.CONFLICT, Outcome.REPEATED}:
                continue
            owed = owed or (outcome is Outcome.STORED and bool(row.owed))
            if namespace is not None:
                self._marks.leave(namespace, row.key, row.fingerprint)
        return owed


def _combined(outcomes: Sequence[Outcome]) -> Outcome:
    """What a callback of several facts is called: what must be seen if one of them is that, else new if any is new."""
    return next((each for each in _ORDER if each in outcomes), Outcome.DUPLICATE)
