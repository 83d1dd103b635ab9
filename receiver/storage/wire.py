"""Stands between asyncpg and the transport of a connection: what is put ahead goes out with asyncpg's next message.

asyncpg has no public way to its transport. But it takes the event loop to connect on, and makes its connections by that
loop's methods: it is given one that puts a `Wire` into each, and is in everything else the loop that runs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, TypeAlias, cast
from weakref import WeakKeyDictionary

import asyncpg

from receiver.storage.engine import Connection

_Factory: TypeAlias = Callable[[], asyncio.Protocol]
_Ends: TypeAlias = tuple["Wire", asyncio.Protocol]
"""What asyncpg takes for its transport, and its own protocol."""
_Opens: TypeAlias = Callable[..., Awaitable[Any]]

_SKIPPED: Final = b"BCDEHPS"
"""The first byte of the messages that PostgreSQL skips from a failure on to the next Sync: those of the extended query
protocol. A simple query is skipped too, but then nobody answers it."""
_SYNC: Final = b"S\0\0\0\4"
_TERMINATE: Final = ord(b"X")


def _nobody() -> None:
    """Hears nothing."""


class Wire(asyncio.Protocol):
    """To the transport a protocol, to asyncpg the transport.

    Args:
        protocol: asyncpg's.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self.transport = cast("asyncio.Transport", None)
        """Until there is a connection."""
        self.ahead = b""
        """Goes out in front of what asyncpg writes next: one system call, and Postgres is woken once."""
        self.asked = False
        """Something was written that was not answered since. Who hears takes it back."""
        self.given_up = False
        """Whoever waits for an answer has had it cancelled, or has closed the connection. Who sends takes it back."""
        self.hear: Callable[[bytes], bytes] = bytes
        """Gets what comes; returns what asyncpg is to have of it: all, until somebody else listens."""
        self.lost: Callable[[], None] = _nobody
        """Hears that the connection is no more."""
        self._held: list[bytes] | None = None
        """What asyncpg has written since `send_ahead`."""

    @property
    def holds(self) -> bool:
        """What went ahead by itself was not answered yet; nothing of asyncpg's is sent."""
        return self._held is not None

    def write(self, data: bytes) -> None:
        """Write what asyncpg has to say."""
        self.asked = True
        if self.ahead or self._held is not None:
            self._write_behind(data)
        else:
            self.transport.write(data)

    def _write_behind(self, data: bytes) -> None:
        if data[0] == _TERMINATE:
            self.ahead = b""
            self.transport.write(data)
        elif self._held is not None:
            self._held.append(data)
        elif data[0] in _SKIPPED:
            data, self.ahead = b"".join((self.ahead, data)), b""
            self.transport.write(data)
        else:
            self.send_ahead()
            self.write(data)

    def send_ahead(self) -> None:
        """Send what is ahead by itself, without a word to asyncpg; what that writes meanwhile is held back."""
        data, self.ahead, self._held = self.ahead + _SYNC, b"", []
        self.transport.write(data)

    def release(self) -> None:
        """Send what was held back."""
        held, self._held = self._held, None
        if held:
            self.transport.write(b"".join(held))

    def shut(self) -> None:
        """Send nothing of asyncpg's any more: the connection is about to be cut."""
        self._held = []

    def writelines(self, parts: Iterable[bytes]) -> None:
        """The same in parts."""
        self.write(b"".join(parts))

    def close(self) -> None:
        """Asyncpg waits for nothing any more."""
        self.given_up = True
        self.transport.close()

    def abort(self) -> None:
        """The same at once."""
        self.given_up = True
        self.transport.abort()

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Who has agreed on encryption gives way to who speaks."""
        self.protocol = protocol

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """All else that a transport can do."""
        return getattr(self.transport, name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be its transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.protocol.connection_made(cast("asyncio.Transport", self))

    def data_received(self, data: bytes) -> None:
        """Pass on what is asyncpg's."""
        if rest := self.hear(data):
            self.protocol.data_received(rest)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self.protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self.lost()
        self.protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self.protocol.resume_writing()


_wires: WeakKeyDictionary[Connection, Wire] = WeakKeyDictionary()


async def connect(*where: object, **more: object) -> Connection:
    """As `asyncpg.connect`, and with a `Wire`."""
    loop = _Loop()
    connection: Connection = await cast("_Opens", asyncpg.connect)(*where, **more, loop=loop)
    _wires[connection] = loop.wire = loop.made
    return connection


def wire_of(connection: Connection) -> Wire:
    """That of a connection which `connect` has made. KeyError for others."""
    return _wires[connection]


class _Loop:
    """The loop that runs, but for how it connects."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.made = cast("Wire", None)
        """The last one: of a connection that is encrypted in the end, or was tried in vain at first, there are more."""
        self.wire: Wire | None = None
        """Of the connection, once it is there. asyncpg makes another one then to have it cancel a statement."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._loop, name)

    async def create_connection(self, factory: _Factory, *where: object, **more: object) -> _Ends:
        return await self._opened(self._loop.create_connection, factory, *where, **more)

    async def create_unix_connection(self, factory: _Factory, *where: object, **more: object) -> _Ends:
        return await self._opened(self._loop.create_unix_connection, factory, *where, **more)

    async def start_tls(self, below: Wire, protocol: asyncio.Protocol, *how: object, **more: object) -> Wire:
        made = self._make(lambda: protocol)
        made.transport = await cast("_Opens", self._loop.start_tls)(below.transport, made, *how, **more)
        return made

    async def _opened(self, opens: _Opens, factory: _Factory, *where: Any, **more: Any) -> _Ends:  # noqa: ANN401
        if self.wire is not None:
            self.wire.given_up = True
        try:
            _, wire = await opens(partial(self._make, factory), *where, **more)
        except BaseException:
            # Cancelled, nobody waits for what asyncpg's protocol was to hear: it would be called an error, and whose?
            waits = getattr(getattr(self.made, "protocol", None), "on_data", None)
            if isinstance(waits, asyncio.Future):
                waits.cancel()
            raise
        return wire, wire.protocol

    def _make(self, factory: _Factory) -> Wire:
        self.made = Wire(factory())
        return self.made
