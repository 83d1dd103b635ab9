"""A TCP relay that stands between the receiver and a server, and keeps, loses or delays what the server says."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from sqlalchemy.engine import make_url

CHUNK = 65_536


class Relay:
    """Passes everything on until told otherwise; `async with`.

    Args:
        url: of the real server.
    """

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.delay = 0.0
        """Seconds by which each reply is late."""
        self.losing = False
        """Replies of connections that say something meanwhile are lost, and all that these say later."""
        self.losing_after: int | None = None
        """Begin with that when so many more parts of replies have passed; None: not by itself."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.release()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def url(self) -> str:
        """The server's URL, but through the relay."""
        port = self._server.sockets[0].getsockname()[1]
        return self._target.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    @property
    def lost(self) -> int:
        """How many connections that still live have lost something."""
        return len(self._deaf)

    def hold(self) -> None:
        """Keep replies back."""
        self._flowing.clear()

    def release(self) -> None:
        """Let go of what was kept back."""
        self._flowing.set()

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def cut_deaf(self) -> None:
        """Break the connections that have lost something: so does TCP, which gives up or delivers."""
        for writer in self._deaf:
            writer.transport.abort()

    def lead_to(self, url: str) -> None:
        """Break every connection; new ones go to another server."""
        self._target = make_url(url)
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            with suppress(OSError):
                await self._join(reader, writer)
        finally:
            self._writers.discard(writer)
            self._deaf.discard(writer)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers.add(away)
        if writer.transport.is_closing():  # cut meanwhile
            away.transport.abort()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, away))
                group.create_task(self._reply(there, writer))
        except* OSError:
            pass
        finally:
            self._writers.discard(away)
            away.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(CHUNK):
            writer.write(part)
            await writer.drain()
        writer.transport.abort()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lost = False
        while part := await reader.read(CHUNK):
            await asyncio.sleep(self.delay)
            await self._flowing.wait()
            self._count()
            lost = lost or self.losing
            if lost:
                self._deaf.add(writer)
            else:
                writer.write(part)
                await writer.drain()
        writer.transport.abort()

    def _count(self) -> None:
        if self.losing_after is not None:
            self.losing = self.losing or self.losing_after == 0
            self.losing_after = max(0, self.losing_after - 1)
