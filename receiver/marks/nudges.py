"""The worker's ear: an event that is set whenever anybody says that something is due."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from receiver.marks.client import UNREACHABLE, Client
from receiver.marks.marks import CHANNEL

log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 0.1


class Nudges:
    """Subscribes and stays subscribed; while Redis is away the worker's poll does the work.

    Args:
        client: see `client.connect`.
        heard: set at each nudge, and after each (re)subscription, for nudges may have been missed.
    """

    def __init__(self, client: Client, heard: asyncio.Event) -> None:
        self._client = client
        self._heard = heard
        self._task = asyncio.create_task(self._listen(), name="receiver-nudges")

    async def nudge(self) -> None:
        """Tell all workers that something is due; where Redis is away they find out by their polls."""
        self._heard.set()
        with suppress(*UNREACHABLE):
            await self._client.publish(CHANNEL, b"")

    async def close(self) -> None:
        """Stop listening and disconnect."""
        while not self._task.done():
            # More than once: redis-py at times answers a cancellation with an error of its own, and listening goes on.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_STOP_SECONDS)
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.aclose()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._client.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    while True:
                        if await subscription.get_message(timeout=None):
                            self._heard.set()
            except UNREACHABLE as error:
                log.warning("redis_unreachable", error=type(error).__name__)
                await asyncio.sleep(_PAUSE_SECONDS)
