"""Asks Redis about callbacks while they wait for a flush: what a mark vouches for needs no row of it.

While most callbacks are new the question runs beside the queue, and a flush that comes first takes the callback along.
While most are repeats a callback is held until the answer is here, which keeps them away from Postgres: 1.1 times the
throughput at 90 % repeats. At fewer it is a loss, since all callers then move in lock-step with two round trips.
Without an answer a callback goes on, after a moment, to Postgres, the judge.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from receiver.inbox.batch import Batcher, Waiting
from receiver.inbox.outcome import Outcome
from receiver.marks import Marks

_LONGEST_SECONDS: Final = 0.02


class Lookups:
    """The questions under way.

    Args:
        marks: Redis.
        namespace: of the connected Postgres, None while there is none.
        batcher: where a callback goes that Redis does not know.
    """

    def __init__(self, marks: Marks, namespace: Callable[[], bytes | None], batcher: Batcher) -> None:
        self._marks = marks
        self._namespace = namespace
        self._batcher = batcher
        self._under_way: dict[_Question, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def ask(self, waiting: Waiting, *, held: bool) -> None:
        """Settle a callback as a duplicate if all its facts are known.

        Args:
            waiting: in line for the next flush, which may come first, or held.
            held: put it in line if they are not.
        """
        namespace = self._namespace() if self._marks.well else None
        if namespace is None:
            if held:
                self._batcher.release(waiting)
            return
        question = _Question(self, waiting, namespace, self._loop.time())
        if held:
            self._under_way[question] = None
            if self._timer is None:
                self._timer = self._loop.call_later(_LONGEST_SECONDS, self._give_up)
        for arrival in waiting.arrivals:
            self._marks.look_up(namespace, arrival.key, arrival.fingerprint, question.heard)

    def settle(self, question: "_Question", *, known: bool) -> None:
        """All answers to one question are here."""
        # Compared again: the connection may have been lost, or Postgres replaced, since the question was asked.
        if known and self._namespace() == question.namespace:
            question.waiting.settle(Outcome.DUPLICATE)
        if self._under_way.pop(question, self) is None:  # else it was in line all the time, or is again
            self._batcher.release(question.waiting)

    def _give_up(self) -> None:
        """Pass on what has waited long enough; runs once for all that came in one such time."""
        self._timer = None
        oldest = self._loop.time() - _LONGEST_SECONDS / 2
        for question in list(self._under_way):
            if question.asked_at > oldest:
                self._timer = self._loop.call_later(_LONGEST_SECONDS, self._give_up)
                break
            self.settle(question, known=False)


class _Question:
    """One callback's question: it is known if each of its facts is."""

    __slots__ = ("_left", "_lookups", "asked_at", "namespace", "waiting")

    def __init__(self, lookups: Lookups, waiting: Waiting, namespace: bytes, asked_at: float) -> None:
        self.waiting = waiting
        self.namespace = namespace
        self.asked_at = asked_at
        self._lookups = lookups
        self._left = len(waiting.arrivals)

    def heard(self, known: bool) -> None:  # noqa: FBT001  called for every callback, positional is cheaper
        """Take the answer for one fact."""
        self._left -= 1
        if not known or not self._left:
            self._lookups.settle(self, known=known)
