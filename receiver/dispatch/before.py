"""The run before the one that runs: its commit was left to that one's first statement, and is answered with it."""

from collections.abc import Callable

import asyncpg
import msgspec

from receiver.dispatch.line import Line
from receiver.dispatch.recorder import Recorder
from receiver.errors import CommitInterrupted, StoreUnavailable
from receiver.handlers import Handler
from receiver.observability.failpoints import failpoint
from receiver.storage.connection import in_our_words
from receiver.storage.leases import Lease
from receiver.storage.runs import RunConnection


class Ended(msgspec.Struct, kw_only=True, eq=False):
    """A run whose handler has returned."""

    lease: Lease
    handler: Handler
    elapsed: float = 0.0
    """Seconds that it took."""
    skipped: bool = False
    """Its handler was not called, since its effect was there."""


class Before:
    """Holds the run before, until it is known what has become of it.

    Args:
        connection: of the slot.
        recorder: of what failed.
        succeeded: told of one that is committed.
    """

    def __init__(self, connection: RunConnection, recorder: Recorder, succeeded: Callable[[Ended], None]) -> None:
        self._connection = connection
        self._recorder = recorder
        self._succeeded = succeeded
        self._ended: Ended | None = None
        self._line: Line | None = None
        self._refusal: asyncpg.PostgresError | None = None
        self.interrupted = False
        """The last one was cut short by what was to be run behind it."""

    def is_of(self, lease: Lease) -> bool:
        """Whether it is the run of `lease`."""
        return self._ended is not None and self._ended.lease is lease

    def hold(self, ended: Ended, line: Line) -> None:
        """Hold it: its commit is owed.

        Args:
            ended: the run.
            line: told when it is done.
        """
        self._ended, self._line, self._refusal = ended, line, None

    def heard(self, refusal: asyncpg.PostgresError | None) -> None:
        """It is committed, or Postgres has refused that."""
        self._refusal = refusal
        if refusal is None and self._ended is not None:
            failpoint("worker_after_commit")
            self._succeeded(self._ended)
            self._done()

    async def settle(self) -> bool:
        """Find out what has become of it, if that is not known; False: it is not committed, which is recorded."""
        ended, self.interrupted = self._ended, False
        if ended is None:
            return True
        if self._refusal is not None:
            cause: Exception = in_our_words(self._refusal)
        else:
            cause = self._interruption()
            await self._connection.discard()  # in the middle of something, or cut
        committed = not await self._recorder.failed(ended.lease, ended.handler, cause, ended.elapsed)
        if committed:
            self._succeeded(ended)
        self._done()
        return committed

    def _interruption(self) -> Exception:
        self.interrupted = self._connection.given_up
        if self.interrupted:
            return CommitInterrupted("what was to be run behind the commit was cut short, and that with it")
        return StoreUnavailable("the answer to the commit did not come")

    def _done(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None and self._line is not None:
            self._line.done(ended.lease, ended.elapsed)
