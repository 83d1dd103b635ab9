"""A batch: several events of one handler in one transaction, completed by one commit.

A handler that takes a list is called once for all of them. If that fails, each is run alone.

Any other is called for one event after another. At first without savepoints, which cost as much as all the rest: if one
fails, everything is rolled back and run again, each behind a savepoint of its own. So one that fails is alone in that.
What a batch cannot settle (a commit that is refused, a connection that is cut, a dispatch that is somebody else's by
now) is left to be run alone, as if there were no batches. But of one that is cut short it is asked first what of it is
committed: by us, or by SQL of its handler's.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog

from receiver.dispatch import verdict
from receiver.dispatch.call import stops_us
from receiver.errors import StoreUnavailable, TransactionEnded
from receiver.handlers import Handler
from receiver.observability.failpoints import failpoint
from receiver.storage.batches import BatchConnection
from receiver.storage.leases import Lease

log = structlog.get_logger(__name__)

Handle: TypeAlias = Callable[[Sequence[Lease], Handler], Awaitable[None]]


@dataclass(kw_only=True)
class Ran:
    """What became of a batch. Those that stand in neither are to be run alone; nothing of theirs was committed."""

    succeeded: list[Lease] = field(default_factory=list)
    """Committed."""
    failed: dict[Lease, BaseException] = field(default_factory=dict)
    """To be recorded, with what they raised."""
    emitted: bool = False
    """One that succeeded has emitted something that handlers want."""


@dataclass(kw_only=True)
class Pending:
    """A batch of which nobody knows yet what has become."""

    leases: Sequence[Lease] = ()
    called: int = 0
    """How many of them a handler was called for, in the transaction that was begun last."""
    asked: Ran | None = None
    """What it has come to if the commit that we asked for went through."""


class Batches:
    """Runs batches, one at a time.

    Args:
        connection: of the slot.
        handle: calls a handler for one event or for a list, in the transaction that is open on it.
    """

    def __init__(self, connection: BatchConnection, handle: Handle) -> None:
        self._connection = connection
        self._handle = handle
        self._careful = False
        """The last batch had one that failed: savepoints from the start."""
        self.pending = Pending()
        """The one that runs, or was cut short."""
        self._left = False

    async def run(self, leases: Sequence[Lease], handler: Handler) -> Ran:
        """Run them and commit. What goes wrong stands in what is returned.

        Cancelled, it raises; the transaction is then to be closed with its connection, and `settle` to be asked.

        Args:
            leases: of `handler`, each with its event; at most one of each lane.
            handler: theirs.

        Raises:
            StoreUnavailable: the connection was cut. The same.
        """
        self.pending = Pending(leases=leases)
        await self._connection.open()
        if handler.options.as_list:
            ran = await self._at_once(leases, handler)
        else:
            ran = await self._one_by_one(leases, handler)
        self.pending = Pending()
        return ran

    @property
    def unsettled(self) -> bool:
        """A batch was cut short when handlers had been called."""
        return self.pending.called > 0

    def leave_to(self, other: "Batches") -> None:
        """Let another one settle what runs here, and go on with nothing."""
        self._left = True
        other.pending = self.pending

    async def settle(self, error: BaseException) -> Ran:
        """What has become of a batch that was cut short: its commit may have gone through, or one of its handler's.

        Args:
            error: what cut it short.

        Raises:
            StoreUnavailable: the connection, which is another by now, cannot be used.
        """
        cut = self.pending
        ended = await self._connection.has_ended()
        if cut.asked is not None and await self._connection.has_succeeded(cut.asked.succeeded[0]):
            ran = cut.asked
        elif ended:
            ran = _ended(cut.leases[: cut.called], verdict.ended_before(error))
        else:
            ran = Ran()
        self.pending = Pending()
        return ran

    async def _one_by_one(self, leases: Sequence[Lease], handler: Handler) -> Ran:
        ran = await self._pass(leases, handler, careful=self._careful)
        if ran is None:
            ran = await self._pass(leases, handler, careful=True) or Ran()
        self._careful = bool(ran.failed)
        return ran

    async def _begin(self) -> None:
        self.pending.called = 0
        await self._connection.begin_together()

    async def _call(self, leases: Sequence[Lease], handler: Handler) -> None:
        self.pending.called += len(leases)
        await self._handle(leases, handler)

    def _stops(self, error: BaseException) -> bool:
        return self._left or stops_us(error)

    async def _at_once(self, leases: Sequence[Lease], handler: Handler) -> Ran:
        """Run them by one call."""
        await self._begin()
        try:
            await self._call(leases, handler)
            emitted = await self._connection.keep(marked=False)
        except StoreUnavailable:
            raise
        except TransactionEnded as error:
            return await self._ended(leases, error)
        except BaseException as error:
            if self._stops(error):
                raise
            log.warning("list_failed", handler=handler.name, count=len(leases), error=type(error).__name__)
            if await self._is_out(error):
                return _ended(leases, verdict.ended_before(error))
            return Ran()
        return await self._commit(leases, Ran(succeeded=list(leases), emitted=emitted))

    async def _pass(self, leases: Sequence[Lease], handler: Handler, *, careful: bool) -> Ran | None:
        """Run them once; None: one failed, all is rolled back, and savepoints will tell which."""
        await self._begin()
        ran = Ran()
        for position, lease in enumerate(leases):
            try:
                ran.emitted |= await self._one(lease, handler, careful=careful)
            except StoreUnavailable:
                raise
            except TransactionEnded as error:
                return await self._ended(leases[: position + 1], error)
            except BaseException as error:
                if self._stops(error):
                    raise
                if not (careful and await self._unmarked(error)):
                    return await self._undone(leases, position, error, careful=careful)
                ran.failed[lease] = error
            else:
                ran.succeeded.append(lease)
        return await self._commit(leases, ran)

    async def _unmarked(self, error: BaseException) -> bool:
        """Undo what one wrote; False if there is no savepoint to go back to."""
        if verdict.spoiled(error) or not self._connection.alive:
            return False
        try:
            await self._connection.unmark()
        except TransactionEnded:
            return False
        return True

    async def _undone(
        self, leases: Sequence[Lease], position: int, error: BaseException, *, careful: bool
    ) -> Ran | None:
        """Roll everything back; None if the batch may be run again with savepoints."""
        spoiled = verdict.spoiled(error) or not self._connection.alive
        if await self._is_out(error):
            return _ended(leases[: position + 1], verdict.ended_before(error))
        if not spoiled and not careful:
            return None
        return Ran(failed={leases[position]: error})

    async def _is_out(self, error: BaseException) -> bool:
        """Undo what was not committed; whether a handler has committed what was written until this error."""
        if verdict.spoiled(error) or not self._connection.alive:
            await self._connection.discard()
        await self._connection.open()
        return await self._connection.has_ended()

    async def _one(self, lease: Lease, handler: Handler, *, careful: bool) -> bool:
        if careful:
            await self._connection.mark()
        await self._call([lease], handler)
        return await self._connection.keep(marked=careful)

    async def _commit(self, leases: Sequence[Lease], ran: Ran) -> Ran:
        if not ran.succeeded:
            await self._connection.roll_back()
            return ran
        failpoint("worker_before_commit")
        self.pending.asked = ran
        try:
            await self._connection.succeed_together(ran.succeeded)
        except TransactionEnded as error:
            return await self._ended(leases, error)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - Postgres refused it, for one of them; alone, that one is found
            log.warning("batch_refused", error=type(error).__name__, count=len(ran.succeeded))
            await self._connection.roll_back()
            return Ran()
        failpoint("worker_after_commit")
        return ran

    async def _ended(self, called: Sequence[Lease], error: TransactionEnded) -> Ran:
        """The transaction is not ours any more, or a dispatch is not."""
        if await self._connection.has_ended():
            return _ended(called, error)
        return Ran()  # nothing is out: whose fault it is will be seen when they are run alone


def _ended(called: Sequence[Lease], error: TransactionEnded) -> Ran:
    """A handler committed by SQL of its own: what they wrote is out, and must not be written again."""
    return Ran(failed=dict.fromkeys(called, error))
