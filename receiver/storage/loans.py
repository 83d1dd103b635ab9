"""What a run's handler is lent of its transaction, and how it is taken back."""

import asyncio
from contextlib import suppress

from sqlalchemy.engine import RootTransaction
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver.storage.chain import Chain
from receiver.storage.own import UNREACHABLE, OwnConnection
from receiver.storage.raw import RawTransaction
from receiver.storage.sessions import emitted, lend, lend_sync, take_back


class Loan:
    """The loan to one handler.

    Args:
        own: with the transaction.
        turn: held by each of our statements on it.
        chain: on it, with what is owed before the first of them, if anything is.
    """

    def __init__(self, own: OwnConnection, turn: asyncio.Lock, chain: Chain) -> None:
        self._own = own
        self._owed = chain if chain.waits else None
        self._ahead = chain.ahead
        self._ahead.watch()
        self._turn = turn
        self._root: RootTransaction | None = None
        self._lent: Session | None = None
        self._raw: RawTransaction | None = None

    def session(self) -> AsyncSession:
        """For a coroutine function."""
        if self._owed is not None:
            self._owed.begin_or_cut()
        self._open_root()
        session = lend(self._own.asynchronous)
        self._lent = session.sync_session
        return session

    def sync_session(self) -> Session:
        """For a plain function, which runs in a thread."""
        self._open_root()
        self._lent = lend_sync(self._own.sync)
        return self._lent

    def raw(self) -> RawTransaction:
        """For a coroutine function that is `raw`."""
        self._raw = RawTransaction(self._own.raw, self._turn, self.session, self._owed)
        return self._raw

    async def ask_nothing(self) -> None:
        """Have Postgres answer, through SQLAlchemy: its adapter lets one statement at a time onto the connection.

        Whether it did, and what it says, does not matter.
        """
        with suppress(*UNREACHABLE):
            self._open_root()
            await self._own.asynchronous.exec_driver_sql("SELECT 1")

    @property
    def emitted(self) -> bool:
        """The handler has emitted something that handlers want."""
        return self._lent is not None and any(arrival.owed for arrival in emitted(self._lent))

    @property
    def doubtful(self) -> bool:
        """The handler may have ended the transaction, or gone on in one that had failed, without our knowing."""
        return self._ahead.disturbed

    def _open_root(self) -> None:
        """Let SQLAlchemy know of the transaction, in which it would else begin one of its own.

        It has done so already where a task that an earlier handler left has used the connection since.
        """
        if self._root is None:
            self._root = self._own.sync.get_transaction() or self._own.sync.begin()

    def end(self) -> bool:
        """Take it back; whether nobody had ended the transaction behind our back. Sends nothing to Postgres."""
        if self._raw is not None:
            self._raw.end()
        untouched = self._root is None or self._root.is_active
        if self._root is not None and untouched:
            self._root.close()
        if self._lent is not None:
            self._own.forget_options()
            take_back(self._lent)
        return untouched
