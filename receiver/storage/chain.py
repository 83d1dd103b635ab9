"""What ends one run and begins the next, as one message: sent by itself, or ahead of the next one's first statement."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias, TypeVar

import asyncpg

from receiver.errors import RunNotBegun, StoreUnavailable
from receiver.storage.ahead import Ahead, Step
from receiver.storage.own import OwnConnection

_T = TypeVar("_T")

Told: TypeAlias = Callable[[asyncpg.PostgresError | None], None]
"""Hears that a commit went through, or why Postgres refused it."""

COMMIT: Final[Step] = ("COMMIT",)
_BEGUN: Final = "UPDATE 1"
"""What Postgres says of a run that began."""


_NOT_BEGUN: Final = "the run has not begun; nothing that it wrote counts, and its handler will be called again"


class Chain:
    """What is owed to one connection: it goes out with whatever asyncpg sends next on it.

    Args:
        own: the connection.
        ahead: on it.
    """

    def __init__(self, own: OwnConnection, ahead: Ahead) -> None:
        self._own = own
        self.ahead = ahead
        self._steps: Sequence[Step] = ()
        self._told: Told | None = None
        self._or_cut = False
        self._refusal: asyncpg.PostgresError | None = None
        self._heard = asyncio.Event()
        self.begun: bool | None = True
        """Whether what was owed last has begun a run; None: we have not heard, or may never."""

    @property
    def waits(self) -> bool:
        """Something is owed and not sent."""
        return self.ahead.waits

    def owe(self, steps: Sequence[Step], told: Told | None = None) -> None:
        """Let `steps` be sent with what is asked next.

        Args:
            steps: a commit, a beginning, or one behind the other.
            told: hears of the commit, as soon as its answer is there.
        """
        self._steps = steps
        self._told = told
        self._or_cut = False
        self._refusal = None
        self.begun = None
        self.ahead.send(steps, self._hear)

    async def pay(self, seconds: float | None = None) -> None:
        """Send by itself what is owed.

        Args:
            seconds: to wait; None: as long as it takes.

        Raises:
            StoreUnavailable: the connection was cut; what was done of it is unknown.
            asyncpg.PostgresError: a step failed, and what is behind it was skipped.
        """
        await self._own.heard(self.ahead.nothing(seconds))

    async def catch_up(self) -> None:
        """The same without asyncpg, which may be asked for something meanwhile; or wait for the answer if it was sent.

        What comes then stands in a run that has begun.

        Raises:
            RunNotBegun: it does not.
            StoreUnavailable: as `pay`.
        """
        if self.waits:
            self.ahead.send_now()
        while self.begun is None:
            if not self._own.alive:
                raise StoreUnavailable("Postgres cut the connection")
            self._heard.clear()
            await self._heard.wait()
        self.check(self._refusal)

    async def carry(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Send what is owed ahead of a statement.

        Args:
            ask: sends it, by the extended query protocol. What it returns is returned, what it raises raised.

        Raises:
            RunNotBegun: what was owed has failed, and the statement has no effect.
        """
        try:
            result = await self._own.heard(ask())
        except Exception as error:
            if self.begun is False:
                self.check(error)
            raise
        self.check()
        return result

    def begin_or_cut(self) -> None:
        """If the run has not begun, cut the connection as soon as that is heard: nothing else stops a session."""
        self._or_cut = True

    def check(self, error: Exception | None = None) -> None:
        """Raise RunNotBegun because of `error`, unless the run has begun."""
        if not self.begun:
            raise RunNotBegun(_NOT_BEGUN) from error

    def forget(self) -> None:
        """Tell nobody any more, and send nothing that was not sent."""
        self._told = None
        self._heard.set()
        self.ahead.withdraw()

    def _hear(self, refusal: asyncpg.PostgresError | None) -> None:
        """Take note of what was answered; `refusal` ended it."""
        self._heard.set()
        self._refusal = refusal
        said = self.ahead.said
        if COMMIT in self._steps[: len(said)]:
            # A transaction that had failed without our knowing is rolled back, which Postgres does not call an error.
            undone = said[self._steps.index(COMMIT)] != "COMMIT"
            self._tell(asyncpg.InFailedSQLTransactionError("rolled back") if undone else None)
        elif refusal is not None and not (self.ahead.given_up and isinstance(refusal, asyncpg.QueryCanceledError)):
            self._tell(refusal)
        if len(said) == len(self._steps):
            self.begun = said[-1] == _BEGUN
        elif refusal is not None:
            self.begun = False
        if self._or_cut and self.begun is False:
            self.ahead.stop()
            asyncio.get_running_loop().call_soon(self._own.raw.terminate)

    def _tell(self, refusal: asyncpg.PostgresError | None) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(refusal)
