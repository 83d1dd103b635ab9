"""Says so when the event loop stands still, and which handler holds it up.

An `async def` handler that blocks stops everything in its process: nothing there can end it, or even hear a signal.
Its leases run out, and other workers take over; a thread of its own is all that can still tell an operator why.
"""

import asyncio
import sys
import threading
from types import FrameType
from typing import Final

import structlog

from receiver.dispatch.bench import Bench

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 1.0
_PATIENCE: Final = 5
"""Looks in a row that find the loop where it was. Not seconds: a process that was frozen as a whole is no news."""


class Standstill:
    """A thread that looks whether the loop still goes round. A daemon: it must not keep the program from ending.

    Args:
        bench: whose looks are counted, and whose handlers may be what holds up the loop.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._stopped = threading.Event()

    def start(self) -> None:
        """Watch the loop that runs in this thread."""
        arguments = (asyncio.get_running_loop(), threading.get_ident())
        threading.Thread(target=self._watch, args=arguments, name="receiver-standstill", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        seen, same = self._bench.looks, 0
        while not self._stopped.wait(_LOOK_SECONDS):
            looks = self._bench.looks
            same = same + 1 if looks == seen else 0
            seen = looks
            if same == _PATIENCE:  # once for each standstill
                self._tell(loop, sys._current_frames().get(thread))  # noqa: SLF001 - documented all the same

    def _tell(self, loop: asyncio.AbstractEventLoop, frame: FrameType | None) -> None:
        call = self._bench.call_of(asyncio.current_task(loop))
        log.error(
            "loop_blocked",
            handler=call.handler.name if call else None,
            event_id=str(call.lease.event_id) if call else None,
            place=f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else None,
            seconds=_PATIENCE * _LOOK_SECONDS,
        )
