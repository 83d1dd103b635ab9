"""A handler's run in somebody else's transaction, behind a savepoint: what tests of handlers use.

It refuses what the commit of a real run would refuse, and leaves the transaction to its owner.
"""

import asyncio
import datetime as dt
from contextlib import suppress
from typing import Final, Self

from sqlalchemy.engine import Connection, NestedTransaction
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from receiver.errors import StoreUnavailable, TransactionAborted, TransactionEnded
from receiver.storage.arrivals import Arrival
from receiver.storage.emits import standing
from receiver.storage.engine import Connection as RawConnection
from receiver.storage.engine import raw_connection
from receiver.storage.raw import RawTransaction
from receiver.storage.sessions import ABORTED, ENDED, ROLLED_BACK, emitted, lend, lend_sync, take_back

_IS_ABORTED: Final = "25P02"
_HAS_ENDED: Final = frozenset({"25P01", "3B001"})
"""No transaction, or another one, in which nobody knows our savepoint."""


class Trial:
    """One run.

    Args:
        connection: with a transaction.
        raw: the same connection, as asyncpg sees it.
        savepoint: in which the handler works.
        owner: the session whose transaction it is, if it is one's; its objects are expired at the end.
    """

    def __init__(
        self, connection: AsyncConnection, raw: RawConnection, savepoint: NestedTransaction, owner: AsyncSession | None
    ) -> None:
        self._connection = connection
        self._raw = raw
        self._savepoint = savepoint
        self._owner = owner
        self._lent: Session | None = None
        self._lent_raw: RawTransaction | None = None
        self.emitted: list[tuple[Arrival, dt.datetime]] = []
        """After `keep`: what was emitted, each with its time of arrival."""

    @classmethod
    async def begin(cls, tx: AsyncSession | AsyncConnection) -> Self:
        """Set the savepoint, in the transaction that is open on `tx` or begins with it.

        What is pending in a session is written first.

        Raises:
            TypeError: the connection is not asyncpg's.
        """
        owner = tx if isinstance(tx, AsyncSession) else None
        if owner is not None:
            await owner.flush()
        connection = tx if isinstance(tx, AsyncConnection) else await tx.connection()
        raw = await raw_connection(connection)
        # A thread that is abandoned in a statement would have the pool close the connection: it must not do that there.
        await connection.run_sync(Connection.detach)
        return cls(connection, raw, await connection.run_sync(Connection.begin_nested), owner)

    @property
    def cut(self) -> bool:
        """The connection was lost or closed."""
        return self._connection.closed or self._connection.invalidated

    def lend(self) -> AsyncSession:
        """A session for a coroutine function."""
        session = lend(self._connection)
        self._lent = session.sync_session
        return session

    def lend_sync(self) -> Session:
        """The same for a plain function, which runs in a thread."""
        self._lent = lend_sync(self._savepoint.connection)
        return self._lent

    def lend_raw(self) -> RawTransaction:
        """For a coroutine function that does without a session."""
        self._lent_raw = RawTransaction(self._raw, asyncio.Lock(), self.lend)
        return self._lent_raw

    owes = False
    """The transaction is there."""

    async def catch_up(self) -> None:
        """Nothing is owed."""

    async def keep(self) -> None:
        """Make what the handler wrote a part of the transaction, as far as a commit would have taken it.

        Raises:
            TransactionEnded: the handler ended the transaction by SQL of its own.
            TransactionAborted: a statement had failed and the handler went on.
            StoreUnavailable: the connection was cut.
            SQLAlchemyError: Postgres would refuse the commit, for a deferred constraint for example.
        """
        if self.cut:
            raise StoreUnavailable("the connection was cut")
        if not self._savepoint.is_active:
            raise TransactionAborted(ROLLED_BACK)
        try:
            await self._connection.run_sync(self._keep)
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state == _IS_ABORTED:
                raise TransactionAborted(ABORTED) from error
            if state in _HAS_ENDED:
                raise TransactionEnded(ENDED) from error
            raise

    async def undo(self) -> None:
        """Roll back to the savepoint; not possible any more where the connection or the transaction is gone."""
        if self._connection.invalidated:
            self._raw.terminate()
        with suppress(SQLAlchemyError):
            await self._connection.run_sync(self._undo)
        with suppress(SQLAlchemyError):
            self._take_back()

    async def discard(self) -> None:
        """Close the connection, and with it the transaction: the run may have left it in the middle of a statement."""
        with suppress(SQLAlchemyError):
            await self._connection.invalidate()
        await self.undo()

    def _keep(self, connection: Connection) -> None:
        check = connection.begin_nested()
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        check.rollback()  # and what was deferred is deferred again, until the owner's commit
        while innermost := self._unfinished(connection):
            innermost.commit()
        if self._lent is not None:
            self.emitted = standing(connection, emitted(self._lent))
        self._take_back()

    def _undo(self, connection: Connection) -> None:
        while innermost := self._unfinished(connection):
            innermost.rollback()

    def _unfinished(self, connection: Connection) -> NestedTransaction | None:
        """The innermost savepoint: one that the handler left open, at last our own."""
        return connection.get_nested_transaction() if self._savepoint.is_active else None

    def _take_back(self) -> None:
        if self._owner is not None:
            self._owner.expire_all()
        if self._lent_raw is not None:
            self._lent_raw.end()
        lent, self._lent = self._lent, None
        if lent is not None:
            take_back(lent)
