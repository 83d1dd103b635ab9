"""One slot's connection, on which several runs of a handler can be made one transaction.

`together` has the statements; `receiver/dispatch/batch.py` says in which order they come.
"""

import datetime as dt
from collections.abc import Sequence

import asyncpg

from receiver.storage import together
from receiver.storage.connection import ANSWER_SECONDS, in_our_words
from receiver.storage.leases import Lease
from receiver.storage.own import OwnConnection
from receiver.storage.runs import RunConnection


class BatchConnection(RunConnection):
    """A `RunConnection` for batches too: between `begin_together` and `succeed_together` handlers run one by one."""

    _begun = ""
    """The transaction of the batch, as Postgres names it,"""
    _since: dt.datetime | None = None
    """and since when it has not crashed, by then."""

    async def begin_together(self) -> None:
        """Begin the transaction of a batch. Raises StoreUnavailable."""
        await self._ask("BEGIN")
        told = await self._heard(self._opened().raw.fetch(together.BEGUN, timeout=ANSWER_SECONDS))
        self._begun, self._since = told[0]

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
        async with self._turn():
            self._end_loan(own)
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

    async def succeed_together(self, leases: Sequence[Lease]) -> None:
        """Record the success of a batch and commit.

        Args:
            leases: those that succeeded; of one handler, no suspects, at most one of each lane.

        Raises:
            TransactionEnded: this is another transaction, or one of them is not ours any more.
            as `succeed`.
        """
        async with self._turn():
            await self._commit(self._opened(), together.succeed(self._begun, leases))

    async def has_ended(self) -> bool:
        """Roll back what is open; whether what was begun together is committed all the same.

        Raises:
            StoreUnavailable: the connection cannot be used.
        """
        self._forget_loan()
        async with self._turn():
            await self._ask("ROLLBACK")
        return bool(await self._tell(together.COMMITTED, self._begun, self._since))

    async def _commit(self, own: OwnConnection, sql: str) -> str:
        """Say what ends a batch, or a part of it."""
        try:
            return await self._limited(own.say(sql))
        except asyncpg.PostgresError as error:
            raise in_our_words(error) from error
