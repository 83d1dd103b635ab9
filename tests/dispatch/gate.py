"""A gate before PostgreSQL: what one connection asks passes it request by request, when it is let through.

It knows the protocol just as far as to see where a request ends (Sync, Query) and where its answer is complete
(ReadyForQuery); so whatever a program's statements are, they can be interleaved with others'. What is sent ahead of a
request passes at once, and is carried out.
"""

import asyncio
from contextlib import suppress
from typing import Final

from sqlalchemy.engine import make_url

_CHUNK: Final = 65_536
_ENDS: Final = frozenset(b"SQ")
_READY: Final = ord("Z")
_BACKEND_KEY: Final = ord("K")
_HEAD: Final = 5
"""Bytes: type, and length without the type."""


class _Messages:
    """Cuts a stream into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, part: bytes) -> list[tuple[int, bytes]]:
        """Types and contents of the messages that are complete now."""
        self._rest += part
        found = []
        while len(self._rest) >= _HEAD and len(self._rest) > (length := int.from_bytes(self._rest[1:_HEAD], "big")):
            found.append((self._rest[0], self._rest[_HEAD : length + 1]))
            self._rest = self._rest[length + 1 :]
        return found


class Gate:
    """Stands before the server for one program's connection at a time; a newer one takes an older one's place.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._newest: asyncio.StreamWriter | None = None
        self._through = asyncio.Event()
        self._changed = asyncio.Event()
        self._up = asyncio.Event()
        self._up.set()
        self.shut = False
        """Each request waits to be let through; otherwise all pass."""
        self.deaf = False
        """Answers are lost."""
        self.waits = False
        """A request stands before the gate."""
        self.asking = False
        """A request is through, and its answer is not complete."""
        self.connected = False
        self.pid = 0
        """Of the backend behind it; 0: none. Numbers of backends that have ended are soon others'."""

    async def open(self) -> str:
        """Start; the URL that leads through it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        url = self._target.set(host="127.0.0.1", port=port).update_query_dict({"sslmode": "disable"})
        return url.render_as_string(hide_password=False)

    async def close(self) -> None:
        """End, with all connections."""
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for the transports to end before the loop does

    def let_through(self) -> None:
        """Let the request pass that waits."""
        self.waits, self.asking = False, True
        self._through.set()

    def cut(self) -> None:
        """Break the connection on both sides; a request that waits is lost."""
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.waits = self.asking = self.connected = False
        self.pid = 0

    def fall(self) -> None:
        """Nobody can connect until `rise`, and whoever tries waits."""
        self._up.clear()

    def rise(self) -> None:
        """Let those connect who wait for it."""
        self._up.set()

    def tell(self) -> None:
        """Something has changed that those who wait in `changes` want to know."""
        self._changed.set()

    async def changes(self, seconds: float) -> None:
        """Returns when something has passed, has come to stand before the gate, or is told; or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._up.wait()
        there, away = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers |= {writer, away}
        self._newest = writer
        self.deaf = False
        self.connected = True
        for side in (self._ask(reader, away, plain=self.shut), self._answer(there, writer)):
            task = asyncio.create_task(side)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, reader: asyncio.StreamReader, away: asyncio.StreamWriter, *, plain: bool) -> None:
        """From program to server. A connection that is made while the gate is shut is nobody's step: it passes."""
        messages = _Messages()
        with suppress(OSError):
            while part := await reader.read(_CHUNK):
                if self.shut and not plain and any(kind in _ENDS for kind, _ in messages.feed(part)):
                    await self._wait()
                away.write(part)
        away.transport.abort()

    async def _wait(self) -> None:
        self._through.clear()
        self.waits = True
        self._changed.set()
        await self._through.wait()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        messages = _Messages()
        with suppress(OSError):
            while part := await there.read(_CHUNK):
                for kind, content in messages.feed(part):
                    if kind == _BACKEND_KEY:
                        self.pid = int.from_bytes(content[:4], "big")
                    if kind == _READY:
                        self.asking = False
                        self._changed.set()
                if not self.deaf:
                    writer.write(part)
        writer.transport.abort()
        if self._newest is writer:
            self.waits = self.asking = self.connected = False
            self.pid = 0
            self._changed.set()
