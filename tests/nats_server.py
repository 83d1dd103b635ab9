"""A real NATS server with JetStream, out of a wheel, as a child of the tests."""

import asyncio
import os
import socket
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM

import nats

from receiver.embedded.launcher import Launcher
from receiver.embedded.ports import LOOPBACK, free_port
from receiver.embedded.privileges import Account
from receiver.embedded.server import Server
from receiver.embedded.state import ServerState

ANSWER_SECONDS = 1.0
BINARY = Path(sysconfig.get_path("scripts")) / "nats-server"


class NatsServer(Server):
    """One server, whose streams are in a folder."""

    name = "NATS"
    death_signal = SIGTERM
    stop_signal = SIGTERM
    immediate_signal = SIGKILL

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        super().__init__(launcher, folder / "nats.log", ServerState(), lambda: None)
        self._folder = folder

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{LOOPBACK}:{self.port}"

    def clear(self) -> None:
        """Delete all streams."""
        asyncio.run(_delete_streams(self.url))

    def clear_leftovers(self) -> None:
        """Nothing to do: it recovers its streams by itself."""

    def _command(self) -> list[str]:
        where = ["--addr", LOOPBACK, "--port", str(self.port), "--server_name", self._state.password]
        return [str(BINARY), *where, "--jetstream", "--store_dir", str(self._folder)]

    def _stdin(self) -> str:
        return ""

    def _answers(self, pid: int) -> bool:  # noqa: ARG002  only our own server has this name
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), ANSWER_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            with connection.makefile("rb") as answers:
                return self._state.password.encode() in answers.readline()
        return False

    def _family(self) -> list[int]:
        process = self._process
        return [process.pid] if process is not None and process.poll() is None else []


async def _delete_streams(url: str) -> None:
    client = await nats.connect(url)
    jetstream = client.jetstream()
    for stream in await jetstream.streams_info():
        assert stream.config.name is not None
        await jetstream.delete_stream(stream.config.name)
    await client.close()


@contextmanager
def nats_server(folder: Path) -> Iterator[NatsServer]:
    """A server that runs; its end is a clean stop."""
    with Launcher(Account(uid=os.getuid(), gid=os.getgid())) as launcher:
        server = NatsServer(launcher, folder)
        try:
            server.start_on(free_port(0))
            yield server
        finally:
            server.stop()
