"""Sockets and uvicorn: one listener each for the public and for operators."""

import asyncio
import resource
import socket
from contextlib import suppress
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from receiver.errors import SettingsError

_BACKLOG: Final = 2048
_KEEP_ALIVE_SECONDS: Final = 65  # longer than the usual proxy's own, so that the proxy closes first
_HEADER_BYTES: Final = 64 * 1024


def bind(host: str, port: int, *, setting: str, shared: bool = False) -> socket.socket:
    """A listening socket.

    Args:
        host: address.
        port: 0 takes a free one.
        setting: what to name in the error.
        shared: other processes of the same program listen on this port too (SO_REUSEPORT). Not otherwise: a second
            program started by mistake would silently get half of the callbacks.

    Raises:
        SettingsError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((host, port))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise SettingsError(f"{setting}: cannot listen on {host}:{port}: {error.strerror}") from error
    made.setblocking(False)  # noqa: FBT003  the standard library's own signature
    return made


def allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one.

    It is often 1,024 for the sake of programs that use select(), which breaks above; a server that runs out of files
    stops accepting.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS calls the hard limit endless and takes no such number
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def address(bound: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Listener(uvicorn.Server):
    """A uvicorn server that leaves signals to the program."""

    def __init__(
        self, app: ASGIApp, bound: socket.socket, *, grace: float, protocol: type[asyncio.Protocol] | None = None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol or "httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(int(grace), 1),
                h11_max_incomplete_event_size=_HEADER_BYTES,
            )
        )
        self._bound = bound
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections."""
        allow_many_files()
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=[self._bound])
        self._task = asyncio.create_task(self.main_loop(), name="receiver-listener")

    async def stop(self) -> None:
        """Stop accepting, let requests in flight finish."""
        self.should_exit = True
        if self._task is not None:
            await self._task
            await self.shutdown(sockets=[self._bound])
