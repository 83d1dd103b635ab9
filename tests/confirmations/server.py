"""A real HTTP server in the role of a provider's API."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from receiver.events import parse_exactly


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> object:
        return parse_exactly(self.body)


@dataclass(frozen=True, kw_only=True)
class Says:
    """One answer."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Answers what `answer` says; `async with`."""

    def __init__(self, answer: Callable[[Asked], Says]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._writers: set[asyncio.StreamWriter] = set()

        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._idle.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._idle.clear()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._one(head.decode(), reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.transport.abort()
            self._writers.remove(writer)
            if not self._writers:
                self._idle.set()

    async def _one(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = first.split(" ")
        self.asked.append(Asked(method=method, path=path, headers=headers, body=body))
        said = self.answer(self.asked[-1])
        shown = {"Content-Type": "application/json", "Content-Length": str(len(said.body)), **said.headers}
        written = "".join(f"{name}: {value}\r\n" for name, value in shown.items())
        writer.write(f"HTTP/1.1 {said.status} As it is\r\n{written}\r\n".encode() + said.body)
        await writer.drain()
        if "Connection" in said.headers:
            writer.close()
