"""Leased dispatches on their way to a slot, and how many of them there are."""

import asyncio
from collections.abc import Callable

from receiver.dispatch.turns import Turns
from receiver.storage.leases import Lease


class Line:
    """What waits for a slot of one kind, and what its slots are running.

    Args:
        done: hears of each lease that is held no more, and of the seconds that its run took.
        turns: without which no slot takes what it runs in batches.
    """

    def __init__(self, done: Callable[[Lease, float], None], turns: Turns) -> None:
        self._leases: asyncio.Queue[Lease] = asyncio.Queue()
        self._aside: list[Lease] = []
        """For these there was no turn."""
        self._turns = turns
        turns.on_leaving(self._recall)
        self._done = done
        self._closed = False
        self.busy = 0
        """How many have been taken and are not yet done."""

    @property
    def waiting(self) -> int:
        """How many no slot has taken yet."""
        return self._leases.qsize() + len(self._aside)

    def put(self, lease: Lease) -> None:
        """Let it be run."""
        self._leases.put_nowait(lease)

    async def take(self) -> Lease:
        """The next one that may be run, for a slot that has nothing to do; to be followed by `leave`."""
        while not self._turns.enter((lease := await self._leases.get()).handler):
            self._aside.append(lease)
        self.busy += 1
        return lease

    def leave(self, handler: str) -> None:
        """A slot has nothing more of the handler for which it took something."""
        self._turns.leave(handler)

    def _recall(self) -> None:
        aside, self._aside = self._aside, []
        for lease in aside:
            self.put(lease)

    def take_next(self) -> Lease | None:
        """The next one, for a slot that is about to have nothing to do; None: nothing waits, or all is to end."""
        if self._closed or self._leases.empty():
            return None
        self.busy += 1
        return self._leases.get_nowait()

    def take_more(self, handler: str, most: int) -> list[Lease]:
        """Up to `most` others of `handler`, for a batch."""
        chosen: list[Lease] = []
        others: list[Lease] = []
        while len(chosen) < most and (lease := self.take_next()) is not None:
            (chosen if lease.handler == handler else others).append(lease)
        for lease in others:
            self.put_back(lease)
        return chosen

    def put_back(self, lease: Lease) -> None:
        """What was taken has not begun."""
        self.busy -= 1
        self.put(lease)

    def done(self, lease: Lease, seconds: float) -> None:
        """What was taken has been run."""
        self.busy -= 1
        self._done(lease, seconds)

    def drain(self) -> list[Lease]:
        """Take out all that no slot has taken; from now on `take_next` gives nothing."""
        self._closed = True
        self._recall()
        return [self._leases.get_nowait() for _ in range(self._leases.qsize())]
