"""A connection that is kept for as long as the server keeps it, since thousands of requests go over it."""

from types import TracebackType
from typing import Self

from tests.ingress.wire import Line, Reply


class KeptLine:
    """Asks over one connection, and over a new one where the last answer ended it; `async with`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._line: Line | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hang_up()

    async def ask(self, raw: bytes) -> Reply:
        """The final answer to a request, without the interim ones."""
        if self._line is None:
            self._line = await Line(self._port).__aenter__()
        reply = await self._line.ask(raw)
        while reply.status < 200:
            reply = await self._line.reply()
        if reply.headers.get("connection") == "close":
            await self._hang_up()
        return reply

    async def _hang_up(self) -> None:
        if self._line is not None:
            await self._line.__aexit__(None, None, None)
            self._line = None
