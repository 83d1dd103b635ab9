"""Calls one handler, on the loop or in a thread, and sends to Postgres all that it left in its session."""

import asyncio
import inspect
import math
from functools import partial
from typing import cast

from receiver.dispatch.threads import HandlerThread
from receiver.errors import HandlerError, HandlerTimedOut
from receiver.events import Event
from receiver.handlers import AsyncFunction, Handler, RawFunction, SyncFunction
from receiver.storage.sessions import Lender


class Caller:
    """Calls handlers one at a time; keeps a thread for those that need one.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: HandlerThread | None = None

    async def call(self, handler: Handler, event: Event, connection: Lender) -> None:
        """Run the handler in the transaction that is open on `connection`; raises what it raises.

        Raises:
            HandlerTimedOut: it took too long. A plain function may still be running then, without its session.
        """
        seconds = handler.options.timeout
        scope = asyncio.timeout(None if math.isinf(seconds) else seconds)
        try:
            async with scope:
                if handler.options.raw:
                    await _call_raw(cast("RawFunction", handler.function), event, connection)
                elif handler.is_async:
                    await _call(cast("AsyncFunction", handler.function), event, connection)
                else:
                    await self._call_in_thread(cast("SyncFunction", handler.function), event, connection)
        except TimeoutError as error:
            if scope.expired():
                raise HandlerTimedOut(f"still running after {seconds:g} seconds") from error
            raise
        if scope.expired():
            raise HandlerTimedOut(f"still running after {seconds:g} seconds, and it returned although it was cancelled")

    def close(self) -> None:
        """Let go of the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()

    async def _call_in_thread(self, function: SyncFunction, event: Event, connection: Lender) -> None:
        if self._thread is None:
            self._thread = HandlerThread(self._name)
        try:
            await self._thread.run(partial(_call_sync, function, event, connection))
        except BaseException:
            self.close()  # it may have been left inside the handler: the next one gets a thread of its own
            raise


async def _call(function: AsyncFunction, event: Event, connection: Lender) -> None:
    session = connection.lend()
    await function(event, session)
    if session.new or session.dirty or session.deleted:  # a flush of nothing costs a greenlet all the same
        await session.flush()


async def _call_raw(function: RawFunction, event: Event, connection: Lender) -> None:
    tx = connection.lend_raw()
    await function(event, tx)
    await tx.flush()


def _call_sync(function: SyncFunction, event: Event, connection: Lender) -> None:
    session = connection.lend_sync()
    result = function(event, session)
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise HandlerError(f"handler {event.handler!r}: returned a coroutine; it or what wraps it must be `async def`")
    session.flush()


def stops_us(error: BaseException) -> bool:
    """Whether our task is to end; a handler may raise CancelledError for reasons of its own."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
