"""A coroutine of the merchant's that holds nothing of ours, ended or left to itself when its time is over."""

import asyncio
from collections.abc import Coroutine
from typing import Final, TypeVar

import structlog

from receiver.errors import ConfirmationTimedOut

log = structlog.get_logger(__name__)

_T = TypeVar("_T")
_GRACE_SECONDS: Final = 1.0
"""To unwind after it was cancelled."""
_abandoned: Final[set[asyncio.Task[object]]] = set()


async def bounded(call: Coroutine[object, object, _T], seconds: float) -> _T:
    """What `call` returns or raises.

    Args:
        call: cancelled after `seconds`, and when whoever waits here is; if it goes on all the same, it is abandoned.
        seconds: that it may take.

    Raises:
        ConfirmationTimedOut: it took longer, or was cancelled by others.
    """
    task = asyncio.create_task(call, name="receiver-confirmation")
    task.add_done_callback(_heard)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            await _end(task)
    if task.cancelled():
        raise ConfirmationTimedOut("it was cancelled, by itself or after its time")
    if task in _abandoned:
        raise ConfirmationTimedOut(f"still running after {seconds:g} seconds, though cancelled: abandoned")
    return task.result()


async def _end(task: asyncio.Task[_T]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=_GRACE_SECONDS)
    if task.done():
        return
    log.error("confirmation_abandoned", abandoned=len(_abandoned) + 1)
    _abandoned.add(task)  # or it might be collected while it waits for something
    # Whoever ends the loop waits for every task that it knows, and this one may never end; see bench.py.
    asyncio.tasks._unregister_task(task)  # noqa: SLF001


def _heard(task: asyncio.Task[_T]) -> None:
    """Take what it raised: after its time nobody else does."""
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()
