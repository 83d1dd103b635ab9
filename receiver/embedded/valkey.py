"""The Valkey server: its configuration and its readiness. It keeps nothing on disk."""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM

from receiver.embedded.binaries import Binaries
from receiver.embedded.launcher import Launcher
from receiver.embedded.ports import LOOPBACK
from receiver.embedded.server import Server
from receiver.embedded.state import ServerState

DEFAULTS = {"save": '""', "appendonly": "no"}
ANSWER_SECONDS = 1.0


def valkey_url(state: ServerState) -> str:
    """Where clients connect to a server of this port and password."""
    return f"redis://:{state.password}@{LOOPBACK}:{state.port}/0"


class ValkeyServer(Server):
    """Valkey without persistence.

    Args:
        launcher: starts it.
        log: its output; appended to.
        state: its port and password.
        save: called after each start.
        binaries: holds valkey-server.
        folder: its working folder, for what it is told to write.
        settings: lines of valkey.conf, name and the rest, over our defaults.
    """

    name = "Valkey"
    death_signal = SIGKILL
    stop_signal = SIGTERM
    immediate_signal = SIGKILL

    def __init__(
        self,
        launcher: Launcher,
        log: Path,
        state: ServerState,
        save: Callable[[], None],
        *,
        binaries: Binaries,
        folder: Path,
        settings: Mapping[str, str],
    ) -> None:
        super().__init__(launcher, log, state, save)
        self._binaries = binaries
        self._folder = folder
        self._settings = settings

    @property
    def url(self) -> str:
        """Where clients connect."""
        return valkey_url(self._state)

    def clear_leftovers(self) -> None:
        """Nothing to do: it has no data, no pid file and no children to speak of."""

    def _command(self) -> list[str]:
        return [str(self._binaries.valkey_server), "-"]  # configured by stdin: a command line would show the password

    def _stdin(self) -> str:
        fixed = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "requirepass": self._state.password,
            "daemonize": "no",
            "dir": _quoted(self._folder),
        }
        return "".join(f"{name} {value}\n" for name, value in {**DEFAULTS, **self._settings, **fixed}.items())

    def _answers(self, pid: int) -> bool:  # noqa: ARG002 -- only our own server knows the password
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), ANSWER_SECONDS) as connection:
            connection.sendall(f"AUTH {self._state.password}\r\nPING\r\nQUIT\r\n".encode())
            with connection.makefile("rb") as answers:
                return answers.read().startswith(b"+OK\r\n+PONG\r\n")
        return False

    def _family(self) -> list[int]:
        process = self._process  # asked once: it may die between two questions
        return [process.pid] if process is not None and process.poll() is None else []


def _quoted(path: Path) -> str:
    """A path as valkey.conf wants it: it may hold blanks and quotes."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
