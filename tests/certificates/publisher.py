"""A provider's https service on loopback, with a certificate of an authority that only the tests believe."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from receiver.certificates import Network
from tests.sources.authorities import Made, leaf

PUBLIC = "93.184.215.14"
"""An address of the public internet. Nothing is sent there: the tests' network reaches it on loopback."""


@dataclass
class Publisher:
    """What it is asked and what it says."""

    port: int = 0
    answers: dict[str, bytes] = field(default_factory=dict)
    """Bodies by path; 404 for the others."""
    raw: bytes | None = None
    """Said instead, whatever is asked."""
    hangs: bool = False
    """It reads and says nothing."""
    asked: list[str] = field(default_factory=list)
    """Paths, in the order in which they were asked for."""
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    addresses: dict[str, Sequence[str]] = field(default_factory=dict)
    """Of hosts that are somewhere else than at PUBLIC."""

    async def resolve(self, host: str) -> Sequence[str]:
        return self.addresses.get(host, [PUBLIC])

    def reach(self, address: str) -> tuple[str, int]:
        assert address == PUBLIC, "everything else is refused before it is asked"
        return "127.0.0.1", self.port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode()
            self.heads.append(head)
            self.asked.append(path)
            if self.hangs:
                await reader.read()
            writer.write(self.raw or said(self.answers.get(path)))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort() if self.hangs else writer.close()


def said(body: bytes | None, **headers: str) -> bytes:
    """A whole answer; None: 404."""
    status = b"404 Not Found" if body is None else b"200 OK"
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, lines, len(body or b""), body or b"")


@asynccontextmanager
async def publishing(authority: Made, key: RSAPrivateKey, host: str) -> AsyncIterator[tuple[Publisher, Network]]:
    """A publisher that is believed to be `host`, and a network in which it is found."""
    publisher = Publisher()
    context = server_context(leaf(host, key, authority, host=host), key)
    server = await asyncio.start_server(publisher.serve, "127.0.0.1", 0, ssl=context)
    publisher.port = server.sockets[0].getsockname()[1]
    believed = ssl.create_default_context(cadata=authority.pem)
    try:
        yield publisher, Network(resolve=publisher.resolve, reach=publisher.reach, tls=lambda: believed)
    finally:
        server.close()


def server_context(made: Made, key: RSAPrivateKey) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "server.pem"
        file.write_text(made.pem + private_pem(key))
        context.load_cert_chain(file)
    return context


def private_pem(key: RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
