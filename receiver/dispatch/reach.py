"""A slot's connection, asked until Postgres answers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from receiver.dispatch.pauses import RECONNECT
from receiver.errors import StoreUnavailable
from receiver.storage.connection import SlotConnection

log = structlog.get_logger(__name__)

_T = TypeVar("_T")


class Reach:
    """Opens a connection as often as it must.

    Args:
        connection: of the slot.
        draw: random numbers from 0 to 1.
    """

    def __init__(self, connection: SlotConnection, draw: Callable[[], float]) -> None:
        self._connection = connection
        self._draw = draw

    async def until_answered(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """What `ask` returns: it is called with the connection open, and again whenever Postgres was away."""
        tries = 0
        while True:
            try:
                await self._connection.open()
                return await ask()
            except StoreUnavailable as error:
                tries += 1
                log.warning("store_unreachable", error=type(error.__cause__).__name__)
                await self._connection.discard()
                await asyncio.sleep(RECONNECT.delay(tries, self._draw()))
