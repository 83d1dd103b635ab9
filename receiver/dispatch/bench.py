"""The slots of a worker, each with the task that serves it; one whose handler will not stop is replaced.

An `async def` handler that is past its timeout is cancelled. It may swallow that and go on, and with it the task that
runs it. After a grace it is left to itself: its connection is closed, so that its transaction is rolled back and
whatever it does with its session raises, its run is recorded as timed out, and a fresh slot takes its place. This
costs a run nothing: now and then somebody looks at how long each has been going on.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

import structlog

from receiver.dispatch.line import Line
from receiver.dispatch.parts import Call
from receiver.dispatch.slot import Slot
from receiver.errors import HandlerTimedOut

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 0.5
"""Between looks."""
MOST_GRACE: Final = 5.0
"""Seconds that a handler gets to unwind after it was cancelled, or the lease, if that is shorter."""


class Bench:
    """Slots at work.

    Args:
        lease_seconds: how long a lease lasts.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._grace = min(MOST_GRACE, lease_seconds)
        self._serving: dict[Slot, tuple[Line, asyncio.Task[None]]] = {}
        self._left: set[asyncio.Task[None]] = set()
        self.looks = 0
        """How often `watch` has looked: while this stands still, so does the loop."""

    def __iter__(self) -> Iterator[Slot]:
        """The slots that are there now."""
        return iter(tuple(self._serving))

    def cancel(self) -> list[asyncio.Task[None]]:
        """End the tasks that serve the slots; those that are still about it."""
        pending = [(slot, task) for slot, (_, task) in self._serving.items() if not task.done()]
        for slot, task in pending:
            slot.cancel(task)
        return [task for _, task in pending]

    def let_go(self) -> None:
        """Give the lines back what slots have in hand whose task has ended before."""
        for slot, (line, _) in self._serving.items():
            slot.let_go(line)

    def call_of(self, task: asyncio.Task[object] | None) -> Call | None:
        """The handler that a task runs, if it runs one. May be asked in any thread."""
        for slot, (_, serving) in tuple(self._serving.items()):
            if serving is task:
                return slot.call
        return None

    def seat(self, slot: Slot, line: Line) -> None:
        """Let a slot begin to serve a line."""
        task = asyncio.create_task(slot.serve(line), name="receiver-slot")
        self._serving[slot] = (line, task)

    async def watch(self) -> None:
        """End what takes too long, and replace slots whose handlers will not stop, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.looks += 1
            self._reseat()
            now = time.monotonic()
            for slot in self:
                # Not from its limit on: where the loop stood still, it has been cancelled only now.
                if slot.look(now) > self._grace and slot.call is not None:
                    seconds = now - slot.call.started
                    error = HandlerTimedOut(f"still running after {seconds:.0f} seconds, though cancelled: abandoned")
                    self._replace(slot, slot.call, error)

    async def clear(self, seconds: float) -> None:
        """Leave those handlers to themselves that run even now, and make their dispatches due at once.

        Args:
            seconds: that this may take.
        """
        settling = [
            asyncio.create_task(_end(self._leave(slot), line, slot.call), name="receiver-slot")
            for slot, (line, _) in tuple(self._serving.items())
            if slot.call is not None
        ]
        if settling:
            _, late = await asyncio.wait(settling, timeout=seconds)
            for task in late:
                task.cancel()

    def _reseat(self) -> None:
        """Put fresh slots in place of those whose handler cancelled the task that served them."""
        for slot, (line, task) in tuple(self._serving.items()):
            if task.done():
                del self._serving[slot]
                self.seat(slot.succeeded_by(), line)

    def _replace(self, slot: Slot, call: Call, error: HandlerTimedOut) -> None:
        line, _ = self._serving[slot]
        fresh = self._leave(slot)
        log.error(
            "handler_abandoned",
            event_id=str(call.lease.event_id),
            handler=call.handler.name,
            attempt=call.lease.attempt,
            abandoned=len(self._left),
        )
        task = asyncio.create_task(_take_over(fresh, line, call, error), name="receiver-slot")
        self._serving[fresh] = (line, task)

    def _leave(self, slot: Slot) -> Slot:
        """Leave a slot and the task that serves it to themselves; a slot in its place."""
        fresh = slot.succeeded_by()
        _, task = self._serving.pop(slot)
        task.cancel()  # once more: some swallow just one
        self._left.add(task)  # or it might be collected while it waits for something
        task.add_done_callback(self._left.discard)
        # Whoever ends the loop, asyncio.run for example, waits for every task that it knows, and this one may never
        # end. See "Extending", "Task lifetime support" in the documentation of asyncio.
        asyncio.tasks._unregister_task(task)  # noqa: SLF001
        return fresh


async def _take_over(slot: Slot, line: Line, call: Call, error: HandlerTimedOut) -> None:
    await _settle(slot, line, call, error)
    await slot.serve(line)


async def _end(slot: Slot, line: Line, call: Call) -> None:
    try:
        await _settle(slot, line, call, None)
    finally:
        await slot.close()
        slot.let_go(line)


async def _settle(slot: Slot, line: Line, call: Call, error: HandlerTimedOut | None) -> None:
    """Record what a run has come to that another slot was left with; no error: the worker stops."""
    try:
        await slot.settle(call, error, line)
    except Exception as fault:  # noqa: BLE001 - a fault of ours must cost one lease, not the slot
        log.error("slot_failed", error=type(fault).__name__, event_id=str(call.lease.event_id))  # noqa: TRY400
    if not call.several:  # those are still to be run, each alone
        line.done(call.lease, time.monotonic() - call.started)
