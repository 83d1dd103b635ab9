"""What ends one run and begins the next, as one message: sent by itself, or ahead of the next one's first statement."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
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
    """Sends, for one connection, what is owed to it.

    Args:
        own: the connection.
        ahead: on it.
    """

    def __init__(self, own: OwnConnection, ahead: Ahead) -> None:
        self._own = own
        self.ahead = ahead
        self._steps: Sequence[Step] = ()
        self._told: Told | None = None
        self.waits = False
        """Something is owed and not sent."""
        self.begun: bool | None = True
        """Whether what was owed last has begun a run; None: we have not heard, or may never."""

    def owe(self, steps: Sequence[Step], told: Told | None = None) -> None:
        """Let `steps` be sent, by one of the methods below.

        Args:
            steps: a commit, a beginning, or one behind the other.
            told: hears of the commit, as soon as its answer is there.
        """
        self._steps = steps
        self._told = told
        self.waits = True
        self.begun = None

    async def pay(self, seconds: float | None = None) -> None:
        """Send by itself what is owed.

        Args:
            seconds: to wait for the answer; None: as long as it takes.

        Raises:
            StoreUnavailable: the connection was cut; what was done of it is unknown.
            asyncpg.PostgresError: a step failed, and what is behind it was skipped.
        """
        self._send()
        await self._sync(seconds)

    async def catch_up(self) -> None:
        """The same, unless it was sent, and whoever did that has not waited for the answer: then this does.

        What comes then stands in a run that has begun.

        Raises:
            RunNotBegun: it does not.
            StoreUnavailable: as `pay`.
        """
        refusal: Exception | None = None
        if self.begun is None:
            try:
                await (self.pay() if self.waits else self._sync())
            except asyncpg.PostgresError as error:
                refusal = error
        self.check(refusal)

    async def carry(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Send what is owed ahead of a statement.

        Args:
            ask: sends it, by the extended query protocol. What it returns is returned, what it raises raised.

        Raises:
            RunNotBegun: what was owed has failed, and the statement has no effect.
        """
        self._send()
        try:
            result = await self._own.heard(ask())
        except StoreUnavailable:
            self._hear()
            raise
        except Exception as error:
            await self._hear_late(error)
            if self.begun is False:
                self.check(error)
            raise
        self._hear()
        self.check()
        return result

    def check(self, error: Exception | None = None) -> None:
        """Raise RunNotBegun because of `error`, unless the run has begun."""
        if not self.begun:
            raise RunNotBegun(_NOT_BEGUN) from error

    def forget(self) -> None:
        """Tell nobody any more, and send nothing that was not sent."""
        self._told = None
        self.ahead.withdraw()

    def _send(self) -> None:
        self.waits = False
        self.ahead.send(self._steps)

    async def _sync(self, seconds: float | None = None) -> None:
        try:
            await self._own.heard(self.ahead.nothing(seconds))
        except Exception as error:
            self._hear(error)
            raise
        self._hear()

    async def _hear_late(self, error: Exception) -> None:
        """As `_hear`; but if the statement was not sent, for its values perhaps, nobody has asked for answers yet."""
        self._hear(error)
        if self.begun is None and self._own.alive:
            with suppress(asyncpg.PostgresError):
                await self._sync()

    def _hear(self, error: Exception | None = None) -> None:
        """Take note of what was answered; `error` ended that, or the statement behind it."""
        said = self.ahead.said
        refusal = error if isinstance(error, asyncpg.PostgresError) and self.ahead.answered else None
        if COMMIT in self._steps[: len(said)]:
            # A transaction that had failed without our knowing is rolled back, which Postgres does not call an error.
            undone = said[self._steps.index(COMMIT)] != "COMMIT"
            self._tell(asyncpg.InFailedSQLTransactionError("rolled back") if undone else None)
        elif refusal is not None:
            self._tell(refusal)
        if len(said) == len(self._steps):
            self.begun = said[-1] == _BEGUN
        elif self.ahead.answered:
            self.begun = False

    def _tell(self, refusal: asyncpg.PostgresError | None) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(refusal)
