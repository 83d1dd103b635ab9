"""One slot of a worker: runs one leased dispatch after another, each in its own transaction."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import structlog
from structlog.contextvars import bind_contextvars

from receiver.dispatch import verdict
from receiver.dispatch.batch import Batches, Ran
from receiver.dispatch.before import Before, Ended
from receiver.dispatch.call import Caller, is_cancelled, stops_us
from receiver.dispatch.confirm import Answer
from receiver.dispatch.content import to_event
from receiver.dispatch.line import Line
from receiver.dispatch.parts import Call, Parts
from receiver.dispatch.reach import Reach
from receiver.dispatch.recorder import Recorder
from receiver.dispatch.vetting import Vetting
from receiver.errors import HandlerTimedOut, LeaseLost, RunNotBegun, StoreUnavailable
from receiver.handlers import Handler
from receiver.observability.failpoints import failpoint
from receiver.storage.batches import BatchConnection
from receiver.storage.leases import Lease

log = structlog.get_logger(__name__)


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
        self._caller = Caller(name, watched=True)
        self._batches = Batches(connection, self._handle)
        self._parts = parts
        self._recorder = Recorder(connection, parts)
        self._reach = Reach(connection, parts.draw)
        self._vetting = Vetting(connection, self._reach, self._recorder, parts)
        self._begun: Lease | None = None
        """Whose transaction was begun behind the commit of the run before, or will be."""
        self._before = Before(connection, self._recorder, self._succeeded)
        self._hand: list[Lease] = []
        """What was taken and is not settled, but for what runs now."""
        self._left = False
        self.call: Call | None = None
        """The handler that runs now."""

    async def serve(self, line: Line) -> None:
        """Run what the line gives, one after another, until cancelled."""
        try:
            while True:
                if not self._hand:
                    await self._draw(line)
                while self._hand:
                    await self._alone(self._hand.pop(0), line)
        finally:
            if self._parts.stopping():  # else a handler has cancelled this task: who comes in its place has the rest
                self.let_go(line)

    def let_go(self, line: Line) -> None:
        """Give the line back what was taken and has not begun."""
        while self._hand:
            line.put_back(self._hand.pop())

    async def _draw(self, line: Line) -> None:
        """Take what is next; where it comes in batches, run one. What is in hand then is to be run alone."""
        first = await line.take()
        self._hand.append(first)
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
        except StoreUnavailable as error:
            ran = await self._cut_short(error)
        except BaseException as error:
            if not self._left:
                ran = await self._cut_short(error)
                await self._tell(ran, handler, (time.perf_counter() - started) / len(leases), line)
            raise
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
            self._succeeded(Ended(lease=lease, handler=handler, elapsed=elapsed))
        if ran.emitted:
            self._parts.followed()
        for lease, error in ran.failed.items():
            await self._recorder.failed(lease, handler, error, elapsed, alone=False)
        settled = {*ran.succeeded, *ran.failed}
        for lease in [lease for lease in self._hand if lease in settled]:
            self._hand.remove(lease)
            line.done(lease, elapsed)

    async def _alone(self, first: Lease, line: Line) -> None:
        """Run one, and what is begun behind its commit."""
        lease: Lease | None = first
        while lease is not None:
            started = time.monotonic()
            following = None
            try:
                following = await self._guarded(lease, line)
            finally:
                if not self._left and following is not lease and not self._before.is_of(lease):
                    line.done(lease, time.monotonic() - started)
            lease = following

    async def _guarded(self, lease: Lease, line: Line) -> Lease | None:
        try:
            if lease is not self._begun and not self._parts.circuits[lease.handler].may_run():
                await self._parts.give_back([lease])  # the circuit opened after this one was leased
                return None
            return await self._run(lease, line)
        except Exception as error:  # noqa: BLE001 - a fault of ours must cost one lease, not the slot
            log.error("slot_failed", error=type(error).__name__, event_id=str(lease.event_id))  # noqa: TRY400
            await self._before.settle()
            return None

    async def _run(self, lease: Lease, line: Line) -> Lease | None:
        """Run the dispatch, from its lease to its outcome. What goes wrong is recorded, not raised.

        Cancelled, it rolls back, makes the dispatch due at once and raises.

        Returns:
            What is to be run next on this connection; its transaction may have begun.
        """
        handler = self._parts.registry.get(lease.handler)
        answer = None
        if lease is not self._begun and self._vetting.asks(lease):
            answer = await self._vetting.confirm(lease, handler)
            if answer is None:
                return None
        chained = lease is self._begun
        if not await self._begin(lease, handler, counted=answer is not None):
            return None
        ended = Ended(lease=lease, handler=handler)
        started = time.perf_counter()
        try:
            await self._work(ended, answer)
            if chained and not self._connection.begun:
                await self._connection.catch_up()
            chained = False
            ended.elapsed = time.perf_counter() - started
            return await self._succeed(ended, line)
        except BaseException as error:
            if self._left:
                raise
            if chained and await self._starts_over(error):
                return lease
            ended.elapsed = time.perf_counter() - started
            if not await self._recorder.failed(lease, handler, error, ended.elapsed):
                self._succeeded(ended, emitted=self._connection.emitted)
            if stops_us(error):
                raise
            return None

    async def _work(self, run: Ended, answer: Answer | None) -> None:
        """Call the handler, unless what it is for was done already."""
        run.skipped = answer is not None and await self._vetting.is_done(run.lease, answer)
        if not run.skipped:
            await self._handle([run.lease], run.handler, answer)

    async def _starts_over(self, error: BaseException) -> bool:
        """Whether a run that failed was not its own fault: its beginning, behind the commit of the one before, was.

        Settles what has become of the one before.
        """
        # It failed before its handler was called, or that did not wait for an answer.
        if self._connection.owes or (self._connection.begun is None and not verdict.spoiled(error)):
            with suppress(RunNotBegun, StoreUnavailable):
                await self._connection.catch_up()
        begun = self._connection.begun
        if begun:
            return False
        committed = await self._before.settle()
        return not stops_us(error) and (begun is False or not committed)

    def _succeeded(self, ended: Ended, *, emitted: bool = False) -> None:
        """Tell of a run that is committed."""
        handler = ended.handler
        if not ended.skipped:
            self._parts.circuits[handler.name].ran(failed=False)
        self._parts.observer.ran(handler.name, "skipped" if ended.skipped else "succeeded", ended.elapsed)
        if emitted:
            self._parts.followed()

    def succeeded_by(self) -> "Slot":
        """A slot in place of this one, which is left to its handler. What this one was to record, `settle` does."""
        self._left = True
        self._caller.close()
        fresh = Slot(self._name, self._connection, self._parts)
        self._batches.leave_to(fresh._batches)
        fresh._before, self._before = self._before, fresh._before
        running = None if self.call is None or self.call.several else self.call.lease
        fresh._hand, self._hand = [lease for lease in self._hand if lease is not running], []
        return fresh

    async def settle(self, call: Call, error: HandlerTimedOut | None, line: Line) -> None:
        """Close the connection that another slot's handler has, and record what has become of its run.

        Args:
            call: the run.
            error: what it failed with; None: the worker stops.
            line: of the slot.
        """
        stop = asyncio.CancelledError()
        await self._before.settle()
        ran = await self._cut_short(error or stop)
        elapsed = time.monotonic() - call.started
        await self._tell(ran, call.handler, elapsed, line)
        if call.several or call.lease in ran.failed:
            return
        if error is None:
            await self._recorder.settle(call.lease, call.handler, stop, verdict.stopped(stop), elapsed)
        elif not await self._recorder.failed(call.lease, call.handler, error, elapsed):
            self._succeeded(Ended(lease=call.lease, handler=call.handler, elapsed=elapsed))

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

    async def _begin(self, lease: Lease, handler: Handler, *, counted: bool) -> bool:
        """Begin the transaction; False if there is nothing to run."""
        if lease is self._begun:
            self._begun = None
            return True
        return await self._reach.until_answered(lambda: self._enter(lease, handler, counted=counted))

    async def _enter(self, lease: Lease, handler: Handler, *, counted: bool) -> bool:
        exhausted = self._vetting.exhausted(lease)
        if lease.event is None or exhausted:
            await self._recorder.bury(lease, handler, verdict.EXHAUSTED if exhausted else verdict.EVENT_GONE)
            return False
        try:
            await self._connection.begin(lease, counted=counted)
        except LeaseLost:
            self._recorder.lost(lease)
            return False
        return True

    async def _handle(self, leases: Sequence[Lease], handler: Handler, answer: Answer | None = None) -> None:
        """Call the handler for one event, or for several if it takes a list."""
        first, several = leases[0], len(leases) > 1
        named = f"{first.event_id} and {len(leases) - 1} more" if several else str(first.event_id)
        # Never unbound: the slot's task has a context of its own, and the next run binds all of them again.
        bind_contextvars(event_id=named, handler=handler.name, attempt=first.attempt)
        self.call = Call(lease=first, handler=handler, started=time.monotonic(), several=several)
        try:
            confirmed = None if answer is None else answer.data
            events = [to_event(lease, self._parts.readers, confirmed) for lease in leases]
            await self._caller.call(handler, events, self._connection)
        finally:
            self.call = None
            if self._left:  # nobody waits for this any more, and another slot has recorded it
                raise asyncio.CancelledError

    async def _succeed(self, ended: Ended, line: Line) -> Lease | None:
        """Commit, and begin what is to be run next: in the same round trip, or with its first statement."""
        following = self._next(line)
        carried = following is not None and self._caller.carries(self._parts.registry.get(following.handler))
        carried = carried and not is_cancelled()  # which would hit the one that follows
        failpoint("worker_before_commit")
        try:
            if await self._connection.succeed(
                ended.lease,
                following,
                elapsed=ended.elapsed,
                skipped=ended.skipped,
                later=self._before.heard if carried else None,
            ):
                self._begun = following
        except BaseException:
            if following is not None:
                line.put_back(following)
            raise
        if self._connection.owes:
            self._before.hold(ended, line)
        else:
            failpoint("worker_after_commit")
            self._succeeded(ended, emitted=self._connection.emitted)
        return following

    def _next(self, line: Line) -> Lease | None:
        lease = line.take_next()
        if lease is None or (
            self._vetting.is_plain(lease) and self._parts.registry.get(lease.handler).options.batch == 1
        ):
            return lease
        line.put_back(lease)
        return None
