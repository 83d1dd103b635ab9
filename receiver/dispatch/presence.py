"""Tells operators that this worker lives: every few seconds, and when it begins to drain or has stopped."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from receiver.storage.workers import TELL_SECONDS, State, TellingConnection, Word

log = structlog.get_logger(__name__)

_LAST_SECONDS: Final = 2.0
"""For the last word: a program that ends must not wait for a database that is gone."""


class Presence:
    """Tells until it is stopped. What goes wrong with it is logged, and disturbs nobody's work.

    Args:
        connection: of its own.
        word: makes what is told of a state.
    """

    def __init__(self, connection: TellingConnection, word: Callable[[State], Word]) -> None:
        self._connection = connection
        self._word = word
        self._state: State = "running"
        self._news = asyncio.Event()
        self._told = True
        self._telling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell."""
        self._telling = asyncio.create_task(self._run(), name="receiver-presence")

    def drain(self) -> None:
        """Tell soon that nothing more is leased."""
        self._state = "draining"
        self._news.set()

    async def stop(self) -> None:
        """Tell that the worker has stopped, if that can be done at once, and disconnect."""
        self._state = "stopped"
        self._news.set()
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=_LAST_SECONDS)
            self._telling.cancel()
            await asyncio.wait([self._telling])
        await self._connection.close()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            state = self._state
            await self._tell(state)
            if state == "stopped":
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(TELL_SECONDS):
                    await self._news.wait()

    async def _tell(self, state: State) -> None:
        try:
            await self._connection.tell(self._word(state))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end it in silence
            if self._told:  # once for each outage
                log.warning("presence_not_told", error=type(error.__cause__ or error).__name__)
            self._told = False
        else:
            self._told = True
