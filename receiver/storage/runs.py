"""Handlers' transactions on a slot's connection, one after another, each beginning with its success."""

import asyncio
from functools import partial
from typing import Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.errors import LeaseLost, StoreUnavailable, TransactionAborted
from receiver.storage import outcomes
from receiver.storage.chain import Told
from receiver.storage.connection import ANSWER_SECONDS, SlotConnection, in_our_words
from receiver.storage.leases import Lease
from receiver.storage.once import once_for_event
from receiver.storage.outcomes import Failure
from receiver.storage.own import UNREACHABLE
from receiver.storage.sessions import ABORTED

_INSTANT_SECONDS: Final = 0.01
"""A run that took less is recorded without its end: to write that down would cost it another row."""


class RunConnection(SlotConnection):
    """A `SlotConnection` that knows how a run begins, succeeds and fails."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self.committing = False
        """A commit was asked for and not answered: the run may have succeeded."""
        self._refused = False
        """The last commit that was answered was not done."""

    async def count(self, lease: Lease) -> None:
        """Count the attempt of a suspect, in a commit of its own. Raises StoreUnavailable."""
        await self._ask(outcomes.count(lease))

    async def begin(self, lease: Lease, *, counted: bool = False) -> None:
        """Begin the run's transaction, in which its dispatch has succeeded: that locks it.

        Args:
            lease: of the run.
            counted: `count` was called already.

        Raises:
            LeaseLost: somebody else owns it by now.
            StoreUnavailable: the connection cannot be used.
        """
        self._forget_loan()  # of a run that has not begun and is over, though tasks of its handler may be left
        if lease.suspect and not counted:
            await self.count(lease)
        self.committing = False  # of a run before it, what came of that has been asked by now
        if self._opened().raw.is_in_transaction():
            await self._ask("ROLLBACK")  # it was begun behind another's commit, and that went wrong
        chain = self._linked()
        chain.owe(outcomes.begin(lease))
        await self._heard(chain.pay(ANSWER_SECONDS))
        if not chain.begun:
            await self._ask("ROLLBACK")
            raise LeaseLost("somebody else took the dispatch over")

    @property
    def begun(self) -> bool | None:
        """The run that was to begin last has begun; None: that is not known, or was not asked for yet."""
        return None if self._chain is None else self._chain.begun

    @property
    def owes(self) -> bool:
        """A commit was left to the first statement of the next run."""
        return self._chain is not None and self._chain.waits

    @property
    def given_up(self) -> bool:
        """If nothing is heard of a commit, it is the doing of who had the connection since: Postgres has not cut it."""
        own, chain = self._own, self._chain
        return own is not None and chain is not None and (not own.raw.is_closed() or chain.ahead.given_up)

    async def catch_up(self, *, over: bool = False) -> None:
        """Send the commit that was left to the next run's first statement, or hear of it; then this run has begun.

        Args:
            over: the handler of this run is done, and with it whoever limits the time of its statements.

        Raises:
            RunNotBegun: it has not.
            StoreUnavailable: the connection was cut.
        """
        async with self._turn(over=over):
            await self._limited(self._linked().catch_up())

    async def once(self, lease: Lease, scope: str, key: str) -> bool | None:
        """Take a key in the transaction that was begun, see `once_for_event`; None: somebody else is about it now.

        Raises:
            StoreUnavailable: the connection cannot be used.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await once_for_event(self._opened().raw, scope, key, lease.event_id)
        except UNREACHABLE as error:
            raise StoreUnavailable("Postgres did not do what it was asked") from error

    async def succeed(
        self,
        lease: Lease,
        following: Lease | None = None,
        *,
        elapsed: float = 0.0,
        skipped: bool = False,
        later: Told | None = None,
    ) -> bool:
        """Commit the run, with all that the handler wrote; then begin the one that follows, as `begin` does.

        Args:
            lease: of the run.
            following: of the next one, no suspect; in one round trip with the commit.
            elapsed: seconds that it took.
            skipped: its handler was not run, since its effect was there.
            later: the commit may be left to the first statement of `following`, or `catch_up`; if it is, `owes` is true
                and this hears of it. The handler of `following` must be called before anything is awaited.

        Returns:
            Whether the run of `following` has begun, or will. If not, `begin` says why.

        Raises:
            TransactionEnded: the handler ended the transaction by SQL of its own.
            TransactionAborted: a statement had failed and the handler went on.
            StoreUnavailable: the connection was cut; whether it is committed `has_succeeded` says.
            asyncpg.PostgresError: Postgres refused the commit, for a deferred constraint for example.
        """
        own, chain = self._opened(), self._linked()
        async with self._turn():
            check = self._end_loan(own)
            finish = elapsed > _INSTANT_SECONDS
            steps = outcomes.succeed(lease, following, check=check, finish=finish, skipped=skipped)
            chain.owe(steps, partial(self._told, later))
            self.committing = True
            # A task that the handler left may wait for an answer by its session: asyncpg sends nothing else until then.
            if later is not None and not self.emitted and chain.ahead.quiet:
                return True
            try:
                await self._limited(chain.pay())
                if self._refused:
                    raise TransactionAborted(ABORTED)
            except asyncpg.PostgresError as error:
                if self._refused:
                    raise in_our_words(error) from error
            except StoreUnavailable:
                if self.committing:
                    raise
                return False
        # What failed otherwise was the beginning behind the commit.
        if following is not None and not chain.begun:
            await self._ask("ROLLBACK")
        return bool(chain.begun)

    async def roll_back(self) -> None:
        """Undo everything since the transaction began. Raises StoreUnavailable."""
        self._forget_loan()
        await self._ask("ROLLBACK")

    async def has_succeeded(self, lease: Lease) -> bool:
        """Whether the run's success is committed although it failed; then nothing is open any more.

        If we had not asked for that, its handler has done it, by SQL of its own. A transaction that is still ours stays
        open, so that nobody takes the dispatch over before `fail`.

        Raises:
            StoreUnavailable: the connection cannot be used.
        """
        self._forget_loan()
        async with self._turn():
            own = self._living()  # it may have been cut while somebody else had his turn
            try:
                if own.raw.is_in_transaction():
                    await own.say(outcomes.check(lease), ANSWER_SECONDS)
                    return False
            except (asyncpg.InFailedSQLTransactionError, asyncpg.DivisionByZeroError):
                pass  # it failed, or it is one that the handler began: the row tells
            except UNREACHABLE as error:
                raise StoreUnavailable("Postgres did not do what it was asked") from error
            return await self._went_through(lease)

    async def fail(self, lease: Lease, failure: Failure, elapsed: float) -> bool:
        """Roll back whatever the handler wrote, then record the failure in a transaction of its own.

        Returns:
            False if somebody else owned the dispatch by then: nothing is recorded.

        Raises:
            StoreUnavailable: the connection cannot be used; the lease will run out.
        """
        self._forget_loan()
        return await self._ask(outcomes.fail(lease, failure, elapsed)) == "INSERT 0 1"

    async def bury(self, lease: Lease, reason: str, *, blocks: bool = False) -> bool:
        """Make the dispatch dead without a run; False if somebody else owned it.

        Raises:
            StoreUnavailable: the connection cannot be used; the lease will run out.
        """
        return await self._ask(outcomes.bury(lease, reason, blocks=blocks)) == "UPDATE 1"

    async def _went_through(self, lease: Lease) -> bool:
        await self._ask("ROLLBACK")
        return bool(await self._tell(outcomes.SUCCEEDED, lease.event_id, lease.handler, lease.epoch, lease.leased_at))

    def _told(self, later: Told | None, refusal: asyncpg.PostgresError | None) -> None:
        self.committing = False
        self._refused = refusal is not None
        if later is not None:
            later(refusal)
