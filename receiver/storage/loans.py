"""What a run's handler is lent of its transaction, and how it is taken back."""

import asyncio

from sqlalchemy.engine import RootTransaction
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver.storage.own import OwnConnection
from receiver.storage.raw import RawTransaction
from receiver.storage.sessions import emitted, lend, lend_sync, take_back


class Loan:
    """The loan to one handler.

    Args:
        own: with the transaction.
        turn: held by each of our statements on it.
    """

    def __init__(self, own: OwnConnection, turn: asyncio.Lock) -> None:
        self._own = own
        self._turn = turn
        self._lent: tuple[Session, RootTransaction] | None = None
        self._raw: RawTransaction | None = None

    def session(self) -> AsyncSession:
        """For a coroutine function."""
        root = self._own.sync.begin()
        session = lend(self._own.asynchronous)
        self._lent = session.sync_session, root
        return session

    def sync_session(self) -> Session:
        """For a plain function, which runs in a thread."""
        root = self._own.sync.begin()
        session = lend_sync(self._own.sync)
        self._lent = session, root
        return session

    def raw(self) -> RawTransaction:
        """For a coroutine function that is `raw`."""
        self._raw = RawTransaction(self._own.raw, self._turn, self.session)
        return self._raw

    @property
    def emitted(self) -> bool:
        """The handler has emitted something that handlers want."""
        return self._lent is not None and any(arrival.owed for arrival in emitted(self._lent[0]))

    def end(self) -> bool:
        """Take it back; whether nobody had ended the transaction behind our back. Sends nothing to Postgres."""
        if self._raw is not None:
            self._raw.end()
        if self._lent is None:
            return True
        session, root = self._lent
        untouched = root.is_active
        if untouched:
            root.close()
        take_back(session)
        return untouched
