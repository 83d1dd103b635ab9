"""One slot's connection: opened, asked, watched and lent to handlers. What runs on it, `runs` and `batches` say.

Our own statements go straight to asyncpg; the handler's session is bound to the same connection.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Final, TypeVar

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from receiver.errors import StoreUnavailable, TransactionAborted, TransactionEnded
from receiver.storage import outcomes, together
from receiver.storage.ahead import Ahead
from receiver.storage.chain import Chain
from receiver.storage.engine import Connection, make_engine
from receiver.storage.loans import Loan
from receiver.storage.own import UNREACHABLE, OwnConnection
from receiver.storage.raw import RawTransaction
from receiver.storage.sessions import ABORTED, ENDED, ROLLED_BACK
from receiver.storage.wire import connect

_T = TypeVar("_T")

ANSWER_SECONDS: Final = 10.0
"""For what is answered at once."""
_COMMIT_SECONDS: Final = 60.0
_NO_SAVEPOINT: Final = (asyncpg.InvalidSavepointSpecificationError, asyncpg.NoActiveSQLTransactionError)
_opens: Final = ContextVar("_opens", default=False)
"""A slot asks for a connection, and not somebody to whom one was lent."""
_IDLE_PART: Final = 0.75
"""Of a lease: a frozen worker's transaction must end, and free its dispatch, before the lease does."""


def run_engine(url: str, *, size: int, lease_seconds: float, wait_for_disk: bool = True) -> AsyncEngine:
    """The engine of the connections on which handlers run.

    Args:
        url: `postgresql://…`; no transaction pooler in between, for statements are prepared in the session.
        size: most connections.
        lease_seconds: how long a lease lasts.
        wait_for_disk: with each commit. If not, a crash of Postgres may undo the last ones: effect, success and the
            attempt's record together, so that the dispatch is run again.
    """
    settings = {
        "default_transaction_isolation": "read committed",
        "idle_in_transaction_session_timeout": f"{int(lease_seconds * _IDLE_PART * 1000)}ms",
    }
    if not wait_for_disk:
        settings["synchronous_commit"] = "off"
    engine = make_engine(url, name="receiver-worker", size=size, settings=settings, connect=_connect)
    # What handlers write is the merchant's: it has no place in the error texts of attempts.
    engine.sync_engine.hide_parameters = True
    return engine


async def _connect(*where: object, **more: object) -> Connection:
    # A handler whose connection was cut could else go on by way of SQLAlchemy, which would take another: in autocommit.
    if not _opens.get():
        raise asyncpg.InterfaceError("the connection with the run's transaction is gone, and no other will do")
    return await connect(*where, **more)


class SlotConnection:
    """A connection for handlers' transactions; to be opened before each run.

    Args:
        engine: see `run_engine`.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.emitted = False
        """The last run has emitted something that handlers want."""
        self._own: OwnConnection | None = None
        self._chain: Chain | None = None
        self._loan: Loan | None = None
        self._touching = asyncio.Lock()
        self._answer_by = math.inf
        """Until when the commit that we wait for may take."""
        self._orphans: list[str] = []

    @property
    def alive(self) -> bool:
        """There is a connection, as far as we know."""
        return self._own is not None and self._own.alive

    async def open(self) -> None:
        """Connect and prepare, unless that is done.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        if self.alive:
            return
        await self.discard()
        asked = _opens.set(True)
        try:
            self._own = await OwnConnection.open(self._engine, _prepare)
        finally:
            _opens.reset(asked)
        self._chain = Chain(self._own, await self._heard(Ahead.on(self._own.raw)))
        for end in self._orphans:
            await self._ask(end)
        self._orphans.clear()

    def lend(self) -> AsyncSession:
        """A session for a coroutine function, in the transaction that was begun."""
        return self._lent().session()

    def lend_sync(self) -> Session:
        """The same for a plain function, which runs in a thread."""
        return self._lent().sync_session()

    def lend_raw(self) -> RawTransaction:
        """The same for a coroutine function that does without a session."""
        return self._lent().raw()

    async def touch(self) -> None:
        """Keep Postgres from ending a transaction whose handler is busy elsewhere; what it says does not matter."""
        if self._loan is None or self._touching.locked():
            return
        async with self._touching:
            await self._loan.ask_nothing()

    def cut_if_late(self, now: float) -> None:
        """Cut the connection if the answer to a commit has been waited for too long. To be called now and then.

        Args:
            now: seconds of the monotonic clock.
        """
        if now > self._answer_by and self._chain is not None:
            self._chain.ahead.cut()

    async def discard(self) -> None:
        """Close the connection for good; Postgres rolls back what was not committed.

        It may not notice before its statement ends, and hold our locks until then: `open` ends that session.
        """
        own, self._own, self._loan = self._own, None, None
        if self._chain is not None:
            self._chain.forget()
            self._chain = None
        if own is not None:
            self._orphans.append(own.end)
            await own.discard()

    async def _ask(self, sql: str) -> str:
        return await self._heard(self._opened().say(sql, ANSWER_SECONDS))

    async def _tell(self, query: str, *values: object) -> object:
        return await self._heard(self._opened().raw.fetchval(query, *values, timeout=ANSWER_SECONDS))

    async def _heard(self, asked: Awaitable[_T]) -> _T:
        try:
            return await asked
        except UNREACHABLE as error:
            raise StoreUnavailable("Postgres did not do what it was asked") from error

    async def _limited(self, asked: Awaitable[_T]) -> _T:
        """What tells of a commit; see `cut_if_late`, which is in place of a timer."""
        self._answer_by = time.monotonic() + _COMMIT_SECONDS
        try:
            return await asked
        finally:
            self._answer_by = math.inf

    def _turn(self, *, over: bool = True) -> AbstractAsyncContextManager[None]:
        """Let nobody else ask.

        Args:
            over: the handler is done. A task that it left has the turn before us no longer than a commit may take.
        """
        return self._limited_turn() if over and self._touching.locked() else self._touching

    @asynccontextmanager
    async def _limited_turn(self) -> AsyncIterator[None]:
        await self._limited(self._touching.acquire())
        try:
            yield
        finally:
            self._touching.release()

    def _opened(self) -> OwnConnection:
        if self._own is None:
            raise StoreUnavailable("the connection was cut")
        return self._own

    def _living(self) -> OwnConnection:
        """That which was opened, if nobody has cut it since."""
        own = self._opened()
        if not own.alive:
            raise StoreUnavailable("the connection was cut")
        return own

    def _linked(self) -> Chain:
        if self._chain is None:
            raise StoreUnavailable("the connection was cut")
        return self._chain

    def _lent(self) -> Loan:
        self._loan = Loan(self._living(), self._touching, self._linked())
        return self._loan

    def _end_loan(self, own: OwnConnection) -> bool:
        """Take back what was lent; whether Postgres must be asked if the transaction is still ours and unharmed."""
        loan, self._loan = self._loan, None
        self.emitted = loan is not None and loan.emitted
        untouched = loan is None or loan.end()
        self._living()
        if not untouched:
            raise TransactionAborted(ROLLED_BACK)
        if not own.raw.is_in_transaction():
            raise TransactionEnded(ENDED)
        return loan is not None and loan.doubtful

    def _forget_loan(self) -> None:
        """End the loan of a run that failed."""
        loan, self._loan = self._loan, None
        with suppress(SQLAlchemyError):  # a task that the handler left behind may be using the session
            if loan is not None:
                loan.end()


async def _prepare(raw: Connection) -> None:
    await raw.execute(f"{outcomes.PREPARE};{together.PREPARE}")


def in_our_words(error: asyncpg.PostgresError) -> Exception:
    """What Postgres has against a commit."""
    if isinstance(error, asyncpg.InFailedSQLTransactionError):
        return TransactionAborted(ABORTED)
    if isinstance(error, (asyncpg.DivisionByZeroError, *_NO_SAVEPOINT)):
        return TransactionEnded(ENDED)
    return error
