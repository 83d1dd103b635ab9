"""Records how a run failed: judged, written to the database, told to circuit, metrics and log."""

import asyncio
import time

import structlog

from receiver.dispatch import verdict
from receiver.dispatch.call import stops_us
from receiver.dispatch.parts import Parts
from receiver.dispatch.pauses import RECONNECT
from receiver.errors import StoreUnavailable
from receiver.handlers import Handler
from receiver.storage.leases import Lease
from receiver.storage.outcomes import Failure
from receiver.storage.runs import RunConnection

log = structlog.get_logger(__name__)


class Recorder:
    """Records the failures of one slot.

    Args:
        connection: of the slot.
        parts: what it shares with the others.
    """

    def __init__(self, connection: RunConnection, parts: Parts) -> None:
        self._connection = connection
        self._parts = parts

    async def failed(
        self, lease: Lease, handler: Handler, error: BaseException, elapsed: float, *, alone: bool = True
    ) -> bool:
        """Record what a run that was ended by `error` comes to.

        Args:
            lease: of the run.
            handler: that was run.
            error: what it raised.
            elapsed: seconds that it took.
            alone: its transaction was its own; False for one of a batch, whose transaction we may have committed.

        Returns:
            False if it has succeeded all the same: its commit went through, and only the answer was lost.
        """
        cut = not self._connection.alive
        if verdict.spoiled(error) or self._connection.committing:  # nobody may hear on it what became of the commit
            await self._connection.discard()
        if alone and await self._has_succeeded(lease):
            if self._connection.committing:
                log.info("commit_found", event_id=str(lease.event_id), handler=handler.name, error=type(error).__name__)
                return False
            error = verdict.ended_before(error)
        if stops_us(error) and self._parts.stopping():
            failure = verdict.stopped(error)
        else:
            failure = verdict.judge(error, lease, handler.options, self._parts.draw(), cut=cut)
        await self.settle(lease, handler, error, failure, elapsed)
        return True

    async def settle(
        self,
        lease: Lease,
        handler: Handler,
        error: BaseException,
        failure: Failure,
        elapsed: float,
        *,
        happened: str = "handler_failed",
    ) -> None:
        """Record `failure`, and tell everybody who should hear of it.

        Args:
            lease: of the run.
            handler: that was run.
            error: what it raised.
            failure: what that comes to.
            elapsed: seconds that it took.
            happened: as the log calls it.
        """
        outcome = "dead" if failure.dead else "retry"
        if not await self._record(lease, failure, elapsed):
            outcome = "lost"
        elif not failure.dead:
            self._parts.due_in(failure.delay)
        if verdict.blames(failure, error):
            self._parts.circuits[handler.name].ran(failed=True)
        self._parts.observer.ran(handler.name, outcome, elapsed)
        tell = log.error if failure.dead else log.warning
        tell(
            happened,
            event_id=str(lease.event_id),
            handler=handler.name,
            attempt=lease.attempt,
            outcome=outcome,
            error=type(error).__name__,
        )

    async def _has_succeeded(self, lease: Lease) -> bool:
        try:
            await self._connection.open()
            return await self._connection.has_succeeded(lease)
        except StoreUnavailable:
            await self._connection.discard()
            return False

    async def _record(self, lease: Lease, failure: Failure, elapsed: float) -> bool:
        """Record the failure, on a new connection if need be; False if the dispatch is not ours any more."""
        until = time.monotonic() + self._parts.lease_seconds
        tries = 0
        while time.monotonic() < until:
            try:
                await self._connection.open()
                return await self._connection.fail(lease, failure, elapsed)
            except StoreUnavailable:
                tries += 1
                await self._connection.discard()
                await asyncio.sleep(RECONNECT.delay(tries, self._parts.draw()))
        return False  # the lease has run out by now, and its loss will be recorded

    async def bury(self, lease: Lease, handler: Handler, reason: str) -> None:
        """Make a dispatch dead without a run."""
        if not await self._connection.bury(lease, reason, blocks=handler.options.on_dead == "block"):
            self.lost(lease)
            return
        self._parts.observer.ran(lease.handler, "dead", 0)
        log.error("dispatch_dead", event_id=str(lease.event_id), handler=lease.handler, reason=reason)

    def lost(self, lease: Lease) -> None:
        """Tell that somebody else owns a dispatch by now."""
        self._parts.observer.ran(lease.handler, "lost", 0)
        log.warning("lease_lost", event_id=str(lease.event_id), handler=lease.handler)
