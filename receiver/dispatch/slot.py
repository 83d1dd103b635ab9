"""One slot of a worker: takes leased dispatches from its line and runs them, one by one or in batches."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from receiver.dispatch import verdict
from receiver.dispatch.batch import Batches, Ran
from receiver.dispatch.before import Ended
from receiver.dispatch.call import Caller
from receiver.dispatch.line import Line
from receiver.dispatch.parts import Call, Parts
from receiver.dispatch.reach import Reach
from receiver.dispatch.recorder import Recorder
from receiver.dispatch.runner import Runner
from receiver.dispatch.settling import Settling
from receiver.dispatch.vetting import Vetting
from receiver.errors import HandlerTimedOut, StoreUnavailable
from receiver.handlers import Handler
from receiver.storage.batches import BatchConnection
from receiver.storage.leases import Lease


class Slot:
    """Runs one dispatch at a time.

    Args:
        name: of its thread, if it needs one.
        connection: its own.
        parts: what it shares with the others.
    """

    def __init__(self, name: str, connection: BatchConnection, parts: Parts) -> None:
        self._name = name
        self._connection = connection
        self._parts = parts
        self._caller = Caller(name, watched=True)
        self._reach = Reach(connection, parts.draw)
        self._recorder = Recorder(connection, parts)
        self._settling = Settling()
        self._vetting = Vetting(connection, self._reach, self._recorder, self._settling, parts)
        self._runner = Runner(
            connection,
            self._caller,
            reach=self._reach,
            recorder=self._recorder,
            settling=self._settling,
            vetting=self._vetting,
            parts=parts,
        )
        self._batches = Batches(connection, self._runner.handle)
        self._hand: list[Lease] = []
        """What was taken and is not settled, but for what runs now."""
        self._drawn: str | None = None
        """The handler for which it was taken from the line."""

    @property
    def call(self) -> Call | None:
        """The handler that runs now."""
        return self._runner.call

    async def serve(self, line: Line) -> None:
        """Run what the line gives, one after another, until cancelled."""
        try:
            while not self._settling.told:
                if not self._hand:
                    self._leave(line)
                    await self._draw(line)
                while self._hand and not self._settling.told:
                    await self._runner.run(self._hand.pop(0), line)
        finally:
            if self._parts.stopping():  # else a handler has cancelled this task: who comes in its place has the rest
                self.let_go(line)

    def let_go(self, line: Line) -> None:
        """Give the line back what was taken and has not begun."""
        while self._hand:
            line.put_back(self._hand.pop())
        self._leave(line)

    def _leave(self, line: Line) -> None:
        drawn, self._drawn = self._drawn, None
        if drawn is not None:
            line.leave(drawn)

    async def _draw(self, line: Line) -> None:
        """Take what is next; where it comes in batches, run one. What is in hand then is to be run alone."""
        first = await line.take()
        self._hand.append(first)
        self._drawn = first.handler
        handler = self._parts.registry.get(first.handler)
        if handler.options.batch == 1 or self._vetting.asks(first):  # others may ask at the same time
            return
        self._hand += line.take_more(first.handler, handler.options.batch - 1)
        plain = [lease for lease in self._hand if self._vetting.is_plain(lease)]
        if len(plain) > 1:
            await self._together(plain, handler, line)

    async def _together(self, leases: Sequence[Lease], handler: Handler, line: Line) -> None:
        started = time.perf_counter()
        try:
            ran = await self._batches.run(leases, handler)
        except BaseException as error:
            if self._runner.left:
                raise
            with self._settling:
                ran = await self._cut_short(error)
                await self._tell(ran, handler, (time.perf_counter() - started) / len(leases), line)
            if not isinstance(error, StoreUnavailable):
                raise
        else:
            with self._settling:
                await self._tell(ran, handler, (time.perf_counter() - started) / len(leases), line)

    async def _cut_short(self, error: BaseException) -> Ran:
        """Close the connection; what has become of a batch that was run on it."""
        await self._connection.discard()
        if not self._batches.unsettled:
            return Ran()
        return await self._reach.until_answered(partial(self._batches.settle, error))

    async def _tell(self, ran: Ran, handler: Handler, elapsed: float, line: Line) -> None:
        """Tell and record what a batch has come to. What is in hand then is still to be run."""
        for lease in ran.succeeded:
            self._runner.succeeded(Ended(lease=lease, handler=handler, elapsed=elapsed))
        if ran.emitted:
            self._parts.followed()
        for lease, error in ran.failed.items():
            await self._recorder.failed(lease, handler, error, elapsed, alone=False)
        settled = {*ran.succeeded, *ran.failed}
        for lease in [lease for lease in self._hand if lease in settled]:
            self._hand.remove(lease)
            line.done(lease, elapsed)

    def succeeded_by(self) -> "Slot":
        """A slot in place of this one, which is left to its handler. What this one was to record, `settle` does."""
        self._runner.left = True
        self._caller.close()
        fresh = Slot(self._name, self._connection, self._parts)
        self._batches.leave_to(fresh._batches)
        fresh._runner.before, self._runner.before = self._runner.before, fresh._runner.before
        running = None if self.call is None or self.call.several else self.call.lease
        fresh._hand, self._hand = [lease for lease in self._hand if lease is not running], []
        fresh._drawn, self._drawn = self._drawn, None
        return fresh

    async def settle(self, call: Call, error: HandlerTimedOut | None, line: Line) -> None:
        """Close the connection that another slot's handler has, and record what has become of its run.

        Args:
            call: the run.
            error: what it failed with; None: the worker stops.
            line: of the slot.
        """
        with self._settling:
            await self._settle(call, error, line)

    async def _settle(self, call: Call, error: HandlerTimedOut | None, line: Line) -> None:
        stop = asyncio.CancelledError()
        await self._runner.before.settle()
        ran = await self._cut_short(error or stop)
        elapsed = time.monotonic() - call.started
        await self._tell(ran, call.handler, elapsed, line)
        if call.several or call.lease in ran.failed:
            return
        if error is None:
            await self._recorder.settle(call.lease, call.handler, stop, verdict.stopped(stop), elapsed)
        elif not await self._recorder.failed(call.lease, call.handler, error, elapsed):
            self._runner.succeeded(Ended(lease=call.lease, handler=call.handler, elapsed=elapsed))

    def cancel(self, task: asyncio.Task[None]) -> None:
        """End the task that serves this slot; after what it is recording, the first time."""
        self._settling.cancel(task)

    def look(self, now: float) -> float:
        """End what takes too long and has no timer of its own. To be called now and then.

        Args:
            now: seconds of the monotonic clock.

        Returns:
            How many seconds ago the handler that runs was cancelled; 0: it was not.
        """
        if self.call is not None and now > self.call.limit:
            self._caller.expire()
        self._connection.cut_if_late(now)
        return self._caller.cancelled_for()

    async def touch(self) -> None:
        """Keep the transaction of a handler that is busy elsewhere."""
        await self._connection.touch()

    async def close(self) -> None:
        """Let go of connection and thread."""
        self._caller.close()
        await self._connection.discard()
