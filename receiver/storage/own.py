"""A connection that its owner keeps for long and that never gets back into a pool, whatever was done to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Self, TypeAlias, TypeVar

import asyncpg
import structlog
from sqlalchemy.engine import Connection as SyncConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from receiver.errors import StoreUnavailable
from receiver.storage.engine import Connection, raw_connection

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

Prepare: TypeAlias = Callable[[Connection], Awaitable[object]]
"""What is done on a new connection before anything else."""

CUT: Final = (
    OSError,
    EOFError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What asyncpg raises when there is no answer; the last between the last word of a session and its end."""
UNREACHABLE: Final = (*CUT, asyncpg.PostgresError, SQLAlchemyError)
"""What may be raised while connecting."""

OPEN_SECONDS: Final = 10.0
"""To connect and prepare. Only the first part of it has a limit of its own, and a reply may be lost in any."""

# The process id alone might be another's by the time that it is used.
_END: Final = """
SELECT format('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %L',
              pid, backend_start)
FROM pg_stat_activity WHERE pid = pg_backend_pid()
"""


def is_last_word(error: BaseException) -> bool:
    """Whether Postgres ends the session with it; that may be read before its end is."""
    return getattr(error, "severity_en", None) in {"FATAL", "PANIC"}


class OwnConnection:
    """One connection, seen three ways.

    Args:
        asynchronous: as SQLAlchemy's asyncio extension sees it.
        sync: as sessions in a greenlet see it.
        raw: as asyncpg sees it.
    """

    def __init__(self, asynchronous: AsyncConnection, sync: SyncConnection, raw: Connection) -> None:
        self.asynchronous = asynchronous
        self.sync = sync
        self.raw = raw
        self._options = sync.get_execution_options()
        self.end = ""
        """A statement that ends this session, to be run in another one."""

    @classmethod
    async def open(cls, engine: AsyncEngine, prepare: Prepare | None = None) -> Self:
        """Connect.

        Args:
            engine: autocommit.
            prepare: what to do first.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or does not answer in time.
        """
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                return await cls._open(engine, prepare)
        except TimeoutError as error:
            raise StoreUnavailable("Postgres does not answer") from error

    @classmethod
    async def _open(cls, engine: AsyncEngine, prepare: Prepare | None) -> Self:
        try:
            asynchronous = await engine.connect()
            raw = await raw_connection(asynchronous)
            await asynchronous.run_sync(SyncConnection.detach)
            made = cls(asynchronous, await asynchronous.run_sync(lambda sync: sync), raw)
        except UNREACHABLE as error:
            raise StoreUnavailable("Postgres cannot be reached") from error
        try:
            made.end = await raw.fetchval(_END)
            if prepare is not None:
                await prepare(raw)
        except BaseException as error:
            await made.discard()
            if isinstance(error, CUT):
                raise StoreUnavailable("Postgres cut the connection") from error
            if isinstance(error, UNREACHABLE):
                raise StoreUnavailable("Postgres has no schema of ours that fits; run `receiver migrate`") from error
            raise
        return made

    @property
    def alive(self) -> bool:
        """It is open, as far as we know."""
        return not (self.raw.is_closed() or self.sync.closed or self.sync.invalidated)

    def forget_options(self) -> None:
        """Undo what a handler has set by `execution_options`, a map of schemas for example."""
        self.sync._execution_options = self._options  # noqa: SLF001 - SQLAlchemy can set them, and not take them back

    async def say(self, sql: str, seconds: float | None = None) -> str:
        """Run `sql`, which holds no parameters; the status of its last statement.

        Args:
            sql: one or several statements, one round trip.
            seconds: to wait for the answer; None: as long as it takes.

        Raises:
            StoreUnavailable: the connection was cut; whether `sql` was run is unknown.
        """
        return await self.heard(self.raw.execute(sql, timeout=seconds))

    async def heard(self, asked: Awaitable[_T]) -> _T:
        """What was asked of it; what asyncpg raises for a connection that was cut, in a word of ours.

        Raises:
            StoreUnavailable: the connection was cut.
        """
        try:
            return await asked
        except (*CUT, asyncpg.PostgresError) as error:
            spoiled = isinstance(error, (TimeoutError, asyncpg.InternalClientError))
            if is_last_word(error) or spoiled or not self.alive:
                raise StoreUnavailable("Postgres cut the connection") from error
            raise

    async def discard(self) -> None:
        """Close it for good, without asking Postgres."""
        self.raw.terminate()
        await asyncio.shield(self._close())

    async def _close(self) -> None:
        try:
            await self.asynchronous.close()
        except UNREACHABLE as error:
            log.debug("connection_discarded", error=type(error).__name__)


class KeptConnection:
    """A connection that is opened when it is first needed and again after each loss, for one user at a time.

    Args:
        engine: autocommit.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._own: OwnConnection | None = None
        self._one_at_a_time = asyncio.Lock()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[OwnConnection]:
        """The connection, for the length of the block. Whatever the block raises closes it.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not do what the block asked.
        """
        async with self._one_at_a_time:
            if self._own is None or not self._own.alive:
                await self.close()
                self._own = await OwnConnection.open(self._engine)
            try:
                yield self._own
            except (*CUT, asyncpg.PostgresError) as error:
                await self.close()
                raise StoreUnavailable("Postgres did not answer") from error
            except BaseException:  # in the middle of a transaction, perhaps: its locks must not outlive it
                await self.close()
                raise

    async def close(self) -> None:
        """Close it; the next use opens another."""
        own, self._own = self._own, None
        if own is not None:
            await own.discard()
