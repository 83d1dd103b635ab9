"""What is asked before a handler runs: whether the event's provider confirms it, and whether that is done already."""

import time

from structlog.contextvars import bind_contextvars

from receiver.dispatch import verdict
from receiver.dispatch.asking import Unconfirmed
from receiver.dispatch.confirm import Answer, once_key
from receiver.dispatch.parts import Parts
from receiver.dispatch.reach import Reach
from receiver.dispatch.recorder import Recorder
from receiver.dispatch.settling import Settling
from receiver.errors import OnceBusy
from receiver.handlers import Handler
from receiver.storage.leases import Lease
from receiver.storage.runs import RunConnection


class Vetting:
    """Vets the runs of one slot.

    Args:
        connection: of the slot.
        reach: to it.
        recorder: of what failed.
        settling: entered while that is recorded.
        parts: what it shares with the others.
    """

    def __init__(
        self, connection: RunConnection, reach: Reach, recorder: Recorder, settling: Settling, parts: Parts
    ) -> None:
        self._connection = connection
        self._reach = reach
        self._recorder = recorder
        self._settling = settling
        self._parts = parts

    def exhausted(self, lease: Lease) -> bool:
        """It has had all its attempts, and lost the last."""
        return lease.attempt > self._parts.registry.get(lease.handler).options.policy.attempts

    def asks(self, lease: Lease) -> bool:
        """Its provider is to be asked."""
        return self._parts.confirmer.asks(lease) and not self.exhausted(lease)

    def is_plain(self, lease: Lease) -> bool:
        """Nothing is to be asked, confirmed, counted or buried before it runs."""
        spared = lease.suspect or self._parts.circuits[lease.handler].is_open
        return lease.event is not None and not spared and not self.exhausted(lease) and not self.asks(lease)

    async def confirm(self, lease: Lease, handler: Handler) -> Answer | None:
        """Ask the provider, before any transaction. None: no handler may run, and that is recorded."""
        if lease.event is None:
            return None
        bind_contextvars(event_id=str(lease.event_id), handler=lease.handler, attempt=lease.attempt)
        started = time.perf_counter()
        try:
            if lease.suspect:  # its attempt is counted before anything runs for it that could kill its worker
                await self._reach.until_answered(lambda: self._connection.count(lease))
            return await self._parts.confirmer.confirm(lease, lease.event, handler)
        except BaseException as error:
            failure = error.failure if isinstance(error, Unconfirmed) else verdict.stopped(error)
            told = (error.error or error) if isinstance(error, Unconfirmed) else error
            elapsed = time.perf_counter() - started
            with self._settling:
                await self._recorder.settle(lease, handler, told, failure, elapsed, happened="event_unconfirmed")
            if not isinstance(error, Unconfirmed):
                raise
            return None

    async def is_done(self, lease: Lease, answer: Answer) -> bool:
        """Whether what this event tells was handled already, as another event that tells the same.

        Raises:
            OnceBusy: it is being handled at this moment.
        """
        if answer.once is None or lease.event is None:
            return False
        first = await self._connection.once(lease, f"confirmed:{lease.handler}", once_key(lease.event, answer.once))
        if first is None:
            raise OnceBusy("another event that tells the same is being handled")
        return not first
