"""What a `raw=True` handler is lent: the statements of the asyncpg connection, in a transaction that stays ours."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeVar

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from receiver.errors import HandlerError, RunNotBegun
from receiver.storage.chain import Chain
from receiver.storage.engine import Connection

_T = TypeVar("_T")

_NOWHERE: Final[Mapping["RawTransaction", int]] = MappingProxyType({})
_inside: ContextVar[Mapping["RawTransaction", int]] = ContextVar("receiver_savepoints", default=_NOWHERE)
"""By transaction: the innermost savepoint that this task stands in. Tasks that are begun inside stand in it too."""
_OPEN_ELSEWHERE: Final = (
    "another task has a savepoint open, and could undo this unheard: wait until it ends, or begin this task inside it"
)
_ENDED_BEFORE: Final = "this task was begun inside a savepoint that has ended: wait for it before the savepoint ends"

# Where a statement may begin: of one that has no values there may be several in a row, and comments.
_ENDS: Final = re.compile(r"(?:^|[;\r\n]|\*/)\s*(?:abort|begin|commit|end|prepare|rollback|start)\b", re.IGNORECASE)


@lru_cache(maxsize=1024)
def may_end(query: str) -> bool:
    """Whether SQL may end a transaction; true of some that does not, but of all that does."""
    return _ENDS.search(query) is not None


class RawTransaction:
    """The transaction of one run, as asyncpg sees it: `$1` for parameters, rows as `asyncpg.Record`.

    Half the cost of a session for a handler that writes its SQL itself. One statement runs at a time. After the run
    each method raises HandlerError.

    Args:
        connection: with the transaction.
        turn: held by each statement.
        session: makes a session in the same transaction.
        chain: with what begins the transaction, if that waits for the first statement.
    """

    def __init__(
        self,
        connection: Connection,
        turn: asyncio.Lock,
        session: Callable[[], AsyncSession],
        chain: Chain | None = None,
    ) -> None:
        self._chain = chain
        self._connection: Connection | None = connection
        self._turn = turn
        self._make_session = session
        self._session: AsyncSession | None = None
        self._savepoints = 0
        self._open: int | None = None
        self.carries: bool | None = None
        """What the handler did first was something that can carry the run's beginning; None: it did nothing yet."""

    async def execute(self, query: str, *values: object, timeout: float | None = None) -> str:  # noqa: ASYNC109
        """Run one statement, or several without values; the status of the last, such as `UPDATE 1`.

        Args:
            query: SQL.
            values: for `$1`, `$2` …
            timeout: seconds.
        """
        # Without values it goes by the simple query protocol, and what is cancelled for its time may take more with it.
        carries = bool(values) and timeout is None
        return await self._ask(query, lambda lent: lent.execute(query, *values, timeout=timeout), carries=carries)

    async def executemany(self, query: str, values: Iterable[Sequence[object]]) -> None:
        """Run one statement for each of `values`."""
        await self._ask(query, lambda lent: lent.executemany(query, values), carries=False)

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """All rows."""
        return await self._ask(query, lambda lent: lent.fetch(query, *values))

    async def fetchrow(self, query: str, *values: object) -> asyncpg.Record | None:
        """The first row, or None."""
        return await self._ask(query, lambda lent: lent.fetchrow(query, *values))

    async def fetchval(self, query: str, *values: object) -> object:
        """The first column of the first row, or None."""
        return await self._ask(query, lambda lent: lent.fetchval(query, *values))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part that is undone alone if it raises.

        All that the transaction does meanwhile is undone with it. So while it is open each statement and savepoint of a
        task that was not begun inside it raises HandlerError; behind its end, of one that was.
        """
        self._check_place()
        outer, outside = self._open, _inside.get()
        self._savepoints += 1
        name = f"receiver_{self._savepoints}"
        self._open = self._savepoints
        _inside.set({**outside, self: self._savepoints})
        try:
            await self.execute(f"SAVEPOINT {name}")
            try:
                yield
            except BaseException:
                await self.execute(f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")
                raise
            await self.execute(f"RELEASE SAVEPOINT {name}")
        finally:
            self._open = outer
            _inside.set(outside)

    def session(self) -> AsyncSession:
        """A session in the same transaction, the same one each time, for `receiver.emit` or a part with the ORM."""
        self._lent()
        self._check_place()
        self._first(carries=True)
        if self._session is None:
            self._session = self._make_session()
        return self._session

    async def flush(self) -> None:
        """Send to Postgres what the session holds, if there is one."""
        if self._session is not None:
            await self._session.flush()

    def end(self) -> None:
        """End the loan."""
        self._connection = None

    async def _ask(self, query: str, ask: Callable[[Connection], Awaitable[_T]], *, carries: bool = True) -> _T:
        if self._savepoints:
            self._check_place()
        carries = carries and not may_end(query)
        self._first(carries=carries)  # before its turn: whoever waits for that will bring what is owed
        async with self._turn:
            lent = self._lent()
            try:
                if self._chain is None or self._chain.begun:
                    return await ask(lent)
                if self._chain.waits and carries:
                    return await self._chain.carry(lambda: ask(lent))
                await self._chain.catch_up()
                return await ask(lent)
            except RunNotBegun:
                self.end()
                raise

    def _check_place(self) -> None:
        """Refuse what another task's savepoint could undo after this one has been told that it is written."""
        if _inside.get().get(self) != self._open:
            raise HandlerError(_ENDED_BEFORE if self._open is None else _OPEN_ELSEWHERE)

    def _first(self, *, carries: bool) -> None:
        if self.carries is None:
            self.carries = carries

    def _lent(self) -> Connection:
        if self._connection is None:
            raise HandlerError("the run is over, and with it the transaction that its handler was lent")
        return self._connection
