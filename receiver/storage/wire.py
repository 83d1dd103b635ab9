"""Stands between asyncpg and the transport of a connection: what is put ahead goes out with asyncpg's next message.

asyncpg has no public way to its transport. But it takes the event loop to connect on, and makes its connections by that
loop's methods: it is given one that puts a `Wire` into each, and is in everything else the loop that runs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeAlias, cast
from weakref import WeakKeyDictionary

import asyncpg

from receiver.storage.engine import Connection

_Factory: TypeAlias = Callable[[], asyncio.Protocol]
_Ends: TypeAlias = tuple["Wire", asyncio.Protocol]
"""What asyncpg takes for its transport, and its own protocol."""
_Opens: TypeAlias = Callable[..., Awaitable[Any]]


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
        self.hear: Callable[[bytes], bytes] = bytes
        """Gets what comes; returns what asyncpg is to have of it: all, until somebody else listens."""

    def write(self, data: bytes) -> None:
        """Write what asyncpg has to say."""
        if self.ahead:
            data, self.ahead = b"".join((self.ahead, data)), b""
        self.transport.write(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        """The same in parts."""
        self.write(b"".join(parts))

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
    _wires[connection] = loop.made
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
