"""Calls one handler, on the loop or in a thread, and sends to Postgres all that it left in its session."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver.dispatch.contexts import apart, refuse_promises
from receiver.dispatch.threads import HandlerThread
from receiver.errors import HandlerTimedOut, RunNotBegun, StoreUnavailable
from receiver.events import Event
from receiver.handlers import Dead, Handler, NotYet, Retry
from receiver.storage.raw import RawTransaction
from receiver.storage.sessions import Lender

WATCHED: Final = 5.0
"""Seconds from which on a handler's time has no timer of its own, which would cost a run a twentieth of its time: who
looks at it now and then lets it `expire`."""

_QUICK: Final = 0.05
"""Seconds that a handler takes at most, if the commit of another is to wait for its first statement."""

Given: TypeAlias = Event | list[Event]
# What a handler takes first, its options tell, and not its type.
AnyAsync: TypeAlias = Callable[[Given, AsyncSession], Awaitable[object]]
AnyRaw: TypeAlias = Callable[[Given, RawTransaction], Awaitable[object]]
_Tx = TypeVar("_Tx")
AnySync: TypeAlias = Callable[[Given, Session], object]


class Caller:
    """Calls handlers one at a time; keeps a thread for those that need one.

    Args:
        name: of the thread.
        watched: somebody looks at what runs, so that long time-outs need no timer.
    """

    def __init__(self, name: str, *, watched: bool = False) -> None:
        self._name = name
        self._longest_timer = WATCHED if watched else math.inf
        self._scope: asyncio.Timeout | None = None
        self._thread: HandlerThread | None = None
        self._quick: dict[str, bool] = {}
        self._unfit: set[str] = set()
        self._paying: asyncio.Task[None] | None = None
        """Else nobody would hold it."""

    def carries(self, handler: Handler) -> bool:
        """As far as we have seen, the handler has a first statement at once, which can bring what is owed with it."""
        patient = handler.options.timeout >= WATCHED  # the commit takes of its time
        return patient and self._quick.get(handler.name, False) and handler.name not in self._unfit

    def spare(self, name: str) -> None:
        """Never call the handler of that name while something is owed: it has cut short what was."""
        self._unfit.add(name)

    async def call(self, handler: Handler, events: list[Event], connection: Lender) -> None:
        """Run the handler in the transaction that is open on `connection`; raises what it raises.

        Args:
            handler: the one.
            events: one, or several for a handler that takes a list.
            connection: lends it what it takes beside them.

        Raises:
            HandlerTimedOut: it took too long. A plain function may still be running then, without its session.
        """
        given = events if handler.options.as_list else events[0]
        seconds = handler.options.timeout
        self._scope = scope = asyncio.timeout(seconds if seconds < self._longest_timer else None)
        try:
            async with scope:
                if handler.options.raw:
                    await self._call_raw(handler.name, cast("AnyRaw", handler.function), given, connection)
                elif handler.is_async:
                    await self._call_async(handler.name, cast("AnyAsync", handler.function), given, connection)
                else:
                    await self._call_in_thread(handler, given, connection)
        except TimeoutError as error:
            if scope.expired():
                raise HandlerTimedOut(f"still running after {seconds:g} seconds") from error
            raise
        except BaseExceptionGroup as group:
            word = _word_of(group)
            if word is None:
                raise
            raise word from group
        finally:
            self._scope = None
        if scope.expired():
            raise HandlerTimedOut(f"still running after {seconds:g} seconds, and it returned although it was cancelled")

    def expire(self) -> None:
        """The time of what runs is over: cancel it, unless that was done."""
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    def cancelled_for(self) -> float:
        """How many seconds ago the time of what runs was over and it was cancelled; 0: it was not."""
        scope = self._scope
        if scope is None or not scope.expired():
            return 0.0
        return asyncio.get_running_loop().time() - (scope.when() or 0.0)

    def close(self) -> None:
        """Let go of the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()

    async def _call_raw(self, name: str, function: AnyRaw, given: Given, connection: Lender) -> None:
        called = time.perf_counter()
        tx = connection.lend_raw()
        self._watch(connection)
        await apart(_done(name, function, given, tx))
        await tx.flush()
        self._quick[name] = bool(tx.carries) and time.perf_counter() - called < _QUICK

    async def _call_async(self, name: str, function: AnyAsync, given: Given, connection: Lender) -> None:
        called = time.perf_counter()
        session = connection.lend()
        self._watch(connection)
        await apart(_done(name, function, given, session))
        if session.new or session.dirty or session.deleted:  # a flush of nothing costs a greenlet all the same
            await session.flush()
        self._quick[name] = time.perf_counter() - called < _QUICK

    def _watch(self, connection: Lender) -> None:
        """Look again when the handler waits for something, or has returned."""
        if connection.owes:
            asyncio.get_running_loop().call_soon(self._pay, connection)

    def _pay(self, connection: Lender) -> None:
        """Others do not wait while a handler waits for something else than a statement."""
        if connection.owes:
            self._paying = asyncio.create_task(_catch_up(connection), name="receiver-catch-up")

    async def _call_in_thread(self, handler: Handler, given: Given, connection: Lender) -> None:
        if self._thread is None:
            self._thread = HandlerThread(self._name)
        try:
            await self._thread.run(partial(_call_sync, handler, given, connection))
        except BaseException:
            self.close()  # it may have been left inside the handler: the next one gets a thread of its own
            raise


async def _done(name: str, function: Callable[[Given, _Tx], Awaitable[object]], given: Given, tx: _Tx) -> None:
    refuse_promises(name, await function(given, tx))


async def _catch_up(connection: Lender) -> None:
    with suppress(RunNotBegun, StoreUnavailable):  # the connection knows, and whoever asks it next is told
        await connection.catch_up()


def _call_sync(handler: Handler, given: Given, connection: Lender) -> None:
    session = connection.lend_sync()
    refuse_promises(handler.name, cast("AnySync", handler.function)(given, session))
    session.flush()


def _word_of(group: BaseExceptionGroup) -> Exception | None:
    """What a handler decided in a task of a `TaskGroup`, if nothing else went wrong there."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, (Dead, NotYet, Retry)) else None


def stops_us(error: BaseException) -> bool:
    """Whether our task is to end; a handler may raise CancelledError for reasons of its own."""
    return isinstance(error, asyncio.CancelledError) and is_cancelled()


def is_cancelled() -> bool:
    """Whether our task was cancelled; by its handler, perhaps."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def meet_cancellation(*, passed_on: bool) -> None:
    """Let a cancellation come that a handler has sent its task, which is ours, and has not waited for.

    Else it would hit whatever waits next: the commit, or the record of what the handler raised.

    Args:
        passed_on: the handler was cancelled and let us know. If not, it has kept that to itself, as a `TaskGroup` does
            one of whose tasks has failed, and the next handler is not to be taken for cancelled.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        task.uncancel()
    while not passed_on and task.uncancel():
        pass
