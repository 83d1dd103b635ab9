"""The sessions that handlers are lent: everything works on them except what would end the transaction."""

from typing import Final, NoReturn, Protocol

from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from receiver.errors import TransactionIsOurs
from receiver.storage.arrivals import Arrival
from receiver.storage.raw import RawTransaction

# Why a run is no success although its handler returned: to operators, and in tests of handlers.
ENDED: Final = "the handler ended the transaction by SQL of its own; use begin_nested(), or raise an exception"
ABORTED: Final = "a statement failed, and the handler went on"
ROLLED_BACK: Final = "the session's transaction was rolled back, and the handler went on"


class LentSession(Session):
    """A session in a transaction that belongs to the dispatcher."""

    emitted: tuple[Arrival, ...] = ()
    """What was emitted in it and was new; a savepoint may have undone it since."""

    def begin(self, nested: bool = False) -> SessionTransaction:  # noqa: FBT001, FBT002 - SQLAlchemy's signature
        """Begin a savepoint; the transaction itself has begun."""
        return super().begin(nested=True) if nested else _refuse("begin")

    def commit(self) -> None:
        """Refuse: the effect, "succeeded" and the attempt's record share one commit, which is ours."""
        _refuse("commit")

    def rollback(self) -> None:
        """Refuse: SQLAlchemy would do nothing here, and the effect would be committed all the same."""
        _refuse("rollback")

    def prepare(self) -> None:
        """Refuse, as commit."""
        _refuse("prepare")

    def close(self) -> None:
        """Refuse: it would roll back."""
        _refuse("close")

    def reset(self) -> None:
        """Refuse: it would roll back."""
        _refuse("reset")

    def invalidate(self) -> None:
        """Refuse: it would cut the connection."""
        _refuse("invalidate")


class Lender(Protocol):
    """Has a transaction open for one handler, and lends it a session."""

    def lend(self) -> AsyncSession:
        """For a coroutine function."""

    def lend_sync(self) -> Session:
        """For a plain function, which runs in a thread."""

    def lend_raw(self) -> RawTransaction:
        """For a coroutine function that does without a session."""

    @property
    def owes(self) -> bool:
        """The transaction has not begun: that may wait for the first statement."""

    async def catch_up(self) -> None:
        """Let it begin now, if it has not."""


def lend_sync(connection: Connection) -> LentSession:
    """A session for a plain function, in the transaction that is open on `connection`."""
    return LentSession(
        connection,
        expire_on_commit=False,
        # What the session begins and ends is then the connection's own transaction object, where an end can be seen.
        join_transaction_mode="control_fully",
        # A handler that keeps the session for later gets an error, not somebody else's transaction.
        close_resets_only=False,
    )


def lend(connection: AsyncConnection) -> AsyncSession:
    """A session for a coroutine function: each of its methods is that of a `LentSession` inside."""
    return AsyncSession(
        connection,
        sync_session_class=LentSession,
        expire_on_commit=False,
        join_transaction_mode="control_fully",
        close_resets_only=False,
    )


def emitted(session: Session) -> tuple[Arrival, ...]:
    """What was emitted in a session that was lent."""
    return session.emitted if isinstance(session, LentSession) else ()


def take_back(session: Session) -> None:
    """End the loan: any later use of the session is an error."""
    Session.close(session)


def _refuse(call: str) -> NoReturn:
    raise TransactionIsOurs(
        f"{call}() on a handler's session: its transaction belongs to the receiver, which commits it when the handler"
        " returns. Use begin_nested() for a part that may be undone; raise an exception to undo everything."
    )
