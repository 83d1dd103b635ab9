"""Runs one leased dispatch after another, each in a transaction of its own; the next begins behind the commit."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog
from structlog.contextvars import bind_contextvars

from receiver.dispatch import verdict
from receiver.dispatch.before import Before, Ended
from receiver.dispatch.call import Caller, is_cancelled, meet_cancellation, stops_us
from receiver.dispatch.confirm import Answer
from receiver.dispatch.content import to_event
from receiver.dispatch.line import Line
from receiver.dispatch.parts import Call, Parts
from receiver.dispatch.reach import Reach
from receiver.dispatch.recorder import Recorder
from receiver.dispatch.settling import Settling
from receiver.dispatch.vetting import Vetting
from receiver.errors import LeaseLost, RunNotBegun, StoreUnavailable
from receiver.handlers import Handler
from receiver.observability.failpoints import failpoint
from receiver.storage.leases import Lease
from receiver.storage.runs import RunConnection

log = structlog.get_logger(__name__)


class Runner:
    """Runs them for one slot.

    Args:
        connection: of the slot.
        caller: of its handlers.
        reach: to the connection.
        recorder: of what failed.
        settling: entered while that is recorded.
        vetting: of what is to be run.
        parts: what it shares with the others.
    """

    def __init__(
        self,
        connection: RunConnection,
        caller: Caller,
        *,
        reach: Reach,
        recorder: Recorder,
        settling: Settling,
        vetting: Vetting,
        parts: Parts,
    ) -> None:
        self._connection = connection
        self._caller = caller
        self._reach = reach
        self._recorder = recorder
        self._settling = settling
        self._vetting = vetting
        self._parts = parts
        self._begun: Lease | None = None
        """Whose transaction was begun behind the commit of the run before, or will be."""
        self.before = Before(connection, recorder, self.succeeded)
        self._entering = False
        """The dispatch was taken, and nothing of it has begun or is recorded."""
        self.left = False
        """The slot was left to its handler: nothing of what becomes of that is to be recorded here."""
        self.call: Call | None = None
        """The handler that runs now."""

    async def run(self, first: Lease, line: Line) -> None:
        """Run one, and what is begun behind its commit."""
        lease: Lease | None = first
        while lease is not None:
            started = time.monotonic()
            following, kept = None, False
            try:
                following = await self._guarded(lease, line)
                kept = following is lease
            except asyncio.CancelledError:
                kept = await self._put_back(lease, line)
                raise
            finally:
                if not self.left and not kept and not self.before.is_of(lease):
                    line.done(lease, time.monotonic() - started)
            lease = following

    async def _put_back(self, lease: Lease, line: Line) -> bool:
        """Give the line back what was taken, if it has not begun."""
        if not self._entering:
            return False
        line.put_back(lease)
        await self._connection.discard()  # which may have locked it
        return True

    async def _guarded(self, lease: Lease, line: Line) -> Lease | None:
        self._entering = True
        try:
            if lease is not self._begun and not self._parts.circuits[lease.handler].may_run():
                await self._parts.give_back([lease])  # the circuit opened after this one was leased
                return None
            return await self._run_one(lease, line)
        except Exception as error:  # noqa: BLE001 - a fault of ours must cost one lease, not the slot
            log.error("slot_failed", error=type(error).__name__, event_id=str(lease.event_id))  # noqa: TRY400
            with self._settling:
                await self.before.settle()
                await self._connection.discard()  # its transaction may be open, and hold locks
            return None

    async def _run_one(self, lease: Lease, line: Line) -> Lease | None:
        """Run the dispatch, from its lease to its outcome. What goes wrong is recorded, not raised.

        Cancelled, it rolls back, makes the dispatch due at once and raises.

        Returns:
            What is to be run next on this connection; its transaction may have begun.
        """
        handler = self._parts.registry.get(lease.handler)
        answer = None
        if lease is not self._begun and self._vetting.asks(lease):
            self._entering = False  # what becomes of asking is recorded
            answer = await self._vetting.confirm(lease, handler)
            if answer is None:
                return None
            self._entering = True
        chained = lease is self._begun
        begun = await self._begin(lease, handler, counted=answer is not None)
        self._entering = False
        if not begun:
            return None
        ended = Ended(lease=lease, handler=handler)
        started = time.perf_counter()
        try:
            await self._work(ended, answer)
            if chained and not self._connection.begun:
                await self._connection.catch_up(over=True)
            chained = False
            ended.elapsed = time.perf_counter() - started
            return await self._succeed(ended, line)
        except BaseException as error:
            if self.left:
                raise
            ended.elapsed = time.perf_counter() - started
            with self._settling:
                again = await self._settle(ended, error, chained=chained)
            if not again and stops_us(error):
                raise
            return lease if again else None

    async def _work(self, run: Ended, answer: Answer | None) -> None:
        """Call the handler, unless what it is for was done already."""
        run.skipped = answer is not None and await self._vetting.is_done(run.lease, answer)
        if not run.skipped:
            await self.handle([run.lease], run.handler, answer)

    async def _settle(self, run: Ended, error: BaseException, *, chained: bool) -> bool:
        """Record what has become of a run that failed; True: it is to be run again at once, and nothing is recorded."""
        if chained and await self._starts_over(run.lease, error):
            return True
        if not await self._recorder.failed(run.lease, run.handler, error, run.elapsed):
            self.succeeded(run, emitted=self._connection.emitted)
        return False

    async def _starts_over(self, lease: Lease, error: BaseException) -> bool:
        """Whether a run that failed was not its own fault: its beginning, behind the commit of the one before, was.

        Settles what has become of the one before.
        """
        # It failed before its handler was called, or that did not wait for an answer.
        if self._connection.owes or (self._connection.begun is None and not verdict.spoiled(error)):
            with suppress(RunNotBegun, StoreUnavailable):
                await self._connection.catch_up(over=True)
        begun = self._connection.begun
        if begun:
            return False
        committed = await self.before.settle()
        if self.before.interrupted:
            self._caller.spare(lease.handler)
        return not stops_us(error) and (begun is False or not committed)

    def succeeded(self, ended: Ended, *, emitted: bool = False) -> None:
        """Tell of a run that is committed."""
        handler = ended.handler
        if not ended.skipped:
            self._parts.circuits[handler.name].ran(failed=False)
        self._parts.observer.ran(handler.name, "skipped" if ended.skipped else "succeeded", ended.elapsed)
        if emitted:
            self._parts.followed()

    async def _begin(self, lease: Lease, handler: Handler, *, counted: bool) -> bool:
        """Begin the transaction; False if there is nothing to run."""
        if lease is self._begun:
            self._begun = None
            if self._connection.alive or self._connection.owes:
                return True  # else a task that the handler before it left has cut it since
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

    async def handle(self, leases: Sequence[Lease], handler: Handler, answer: Answer | None = None) -> None:
        """Call the handler for one event, or for several if it takes a list."""
        if self._settling.told:  # and the call before this one, in a batch, has kept that to itself
            raise asyncio.CancelledError
        first, several = leases[0], len(leases) > 1
        named = f"{first.event_id} and {len(leases) - 1} more" if several else str(first.event_id)
        # Never unbound: the slot's task has a context of its own, and the next run binds all of them again.
        bind_contextvars(event_id=named, handler=handler.name, attempt=first.attempt)
        self.call = Call(lease=first, handler=handler, started=time.monotonic(), several=several)
        cancelled = False
        try:
            confirmed = None if answer is None else answer.data
            events = [to_event(lease, self._parts.readers, confirmed) for lease in leases]
            await self._caller.call(handler, events, self._connection)
        except asyncio.CancelledError:
            cancelled = True
            raise
        finally:
            self.call = None
            if self.left:  # nobody waits for this any more, and another slot has recorded it
                raise asyncio.CancelledError
            await meet_cancellation(passed_on=cancelled or self._settling.told)

    async def _succeed(self, ended: Ended, line: Line) -> Lease | None:
        """Commit, and begin what is to be run next: in the same round trip, or with its first statement."""
        # Who has something else of a batch in hand comes to that next.
        following = self._next(line) if ended.handler.options.batch == 1 else None
        carried = following is not None and self._caller.carries(self._parts.registry.get(following.handler))
        carried = carried and not is_cancelled()  # which would hit the one that follows
        failpoint("worker_before_commit")
        try:
            if await self._connection.succeed(
                ended.lease,
                following,
                elapsed=ended.elapsed,
                skipped=ended.skipped,
                later=self.before.heard if carried else None,
            ):
                self._begun = following
        except BaseException:
            if following is not None:
                line.put_back(following)
            raise
        if self._connection.owes:
            self.before.hold(ended, line)
        else:
            failpoint("worker_after_commit")
            self.succeeded(ended, emitted=self._connection.emitted)
        return following

    def _next(self, line: Line) -> Lease | None:
        lease = line.take_next()
        if lease is None or (
            self._vetting.is_plain(lease) and self._parts.registry.get(lease.handler).options.batch == 1
        ):
            return lease
        line.put_back(lease)
        return None
