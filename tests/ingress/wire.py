"""HTTP by hand over one TCP connection: what a test sends is exactly what the server gets."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

SECONDS = 10.0
Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(
    path: str, headers: Iterable[Header] = (), body: bytes = b"", *, method: str = "POST", version: str = "1.1"
) -> bytes:
    """A whole request with the body's length in its head."""
    return head(path, [*headers, (b"Content-Length", b"%d" % len(body))], method=method, version=version) + body


def head(path: str, headers: Iterable[Header], *, method: str = "POST", version: str = "1.1") -> bytes:
    """The head of a request, up to and with the empty line."""
    lines = [f"{method} {path} HTTP/{version}".encode(), b"Host: receiver.test"]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", b""])


def chunked(path: str, headers: Iterable[Header], parts: Iterable[bytes]) -> bytes:
    """A request whose body comes in chunks, without its length."""
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    return head(path, [*headers, (b"Transfer-Encoding", b"chunked")]) + b"".join(chunks) + b"0\r\n\r\n"


class Line:
    """A connection to a server on loopback; `async with`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    async def send(self, raw: bytes) -> None:
        """Write, whatever it is."""
        self.writer.write(raw)
        await self.writer.drain()

    async def ask(self, raw: bytes) -> Reply:
        """Write a request and read its answer, which may come before all of it was read."""
        self.writer.write(raw)
        return await self.reply()

    async def reply(self, seconds: float = SECONDS) -> Reply:
        """The next answer; interim ones (1xx) are answers too."""
        async with asyncio.timeout(seconds):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Reply(int(first.split(" ")[1]), headers, body)

    async def ended(self, seconds: float = SECONDS) -> bool:
        """Whether the server closes the connection in time, with nothing more to say."""
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


async def ask(port: int, raw: bytes) -> Reply:
    """One request on a connection of its own."""
    async with Line(port) as line:
        return await line.ask(raw)
