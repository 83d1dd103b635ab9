"""One slot's connection, on which several runs of a handler can be made one transaction.

`together` has the statements; `receiver/dispatch/batch.py` says in which order they come.
"""

from collections.abc import Sequence

from receiver.errors import TransactionEnded
from receiver.storage import together
from receiver.storage.leases import Lease
from receiver.storage.runs import ENDED, RunConnection


class BatchConnection(RunConnection):
    """A `RunConnection` for batches too: between `begin_together` and `succeed_together` handlers run one by one."""

    async def begin_together(self, leases: Sequence[Lease]) -> bool:
        """Begin the transaction of a batch and lock its dispatches; False, and no transaction, if one is not ours.

        Args:
            leases: of one handler, no suspects, at most one of each lane.

        Raises:
            StoreUnavailable: the connection cannot be used.
        """
        if await self._ask(together.fence(leases)) == f"SELECT {len(leases)}":
            return True
        await self.roll_back()
        return False

    async def mark(self) -> None:
        """Set the savepoint to which `unmark` takes a batch back. Raises StoreUnavailable."""
        await self._ask(together.SAVEPOINT)

    async def keep(self, *, marked: bool) -> bool:
        """End the loan to one handler of a batch; what it wrote belongs to the batch from now on.

        Args:
            marked: behind a savepoint, which is released.

        Returns:
            Whether it has emitted something that handlers want.

        Raises:
            as `succeed`.
        """
        own = self._opened()
        async with self._touching:
            self._end_loan(own)
            if not own.raw.is_in_transaction():
                raise TransactionEnded(ENDED)
            if marked:
                await self._commit(own, together.RELEASE)
        return self.emitted

    async def unmark(self) -> None:
        """End the loan to one handler of a batch, and undo what it wrote since `mark`.

        Raises:
            TransactionEnded: there is no savepoint any more.
            StoreUnavailable: the connection cannot be used.
        """
        self._forget_loan()
        await self._commit(self._opened(), together.UNDO)

    async def succeed_together(self, begun: Sequence[Lease], leases: Sequence[Lease]) -> None:
        """Record the success of a batch and commit.

        Args:
            begun: what `begin_together` was given.
            leases: those of them that succeeded.

        Raises:
            as `succeed`.
        """
        async with self._touching:
            await self._commit(self._opened(), together.succeed(begun, leases))
