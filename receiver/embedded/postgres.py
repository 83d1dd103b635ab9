"""The PostgreSQL server: its command line, its readiness, and what an earlier one may have left."""

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGQUIT

from receiver.embedded.binaries import Binaries
from receiver.embedded.cluster import DATABASE, USER
from receiver.embedded.folder import locked
from receiver.embedded.launcher import Launcher
from receiver.embedded.ports import LOOPBACK
from receiver.embedded.processes import bury, postgres_in, postgres_named
from receiver.embedded.server import Server
from receiver.embedded.state import ServerState

DEFAULTS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
LEFTOVER_SECONDS = 2.0  # for dying on their own; killing them is no worse than the crash that orphaned them
STATUS_LINE = 7  # of postmaster.pid, whose first line is the pid: src/include/utils/pidfile.h


def postgres_url(state: ServerState) -> str:
    """Where clients connect to a server of this port and password."""
    return f"postgresql://{USER}:{state.password}@{LOOPBACK}:{state.port}/{DATABASE}"


def cluster_name(data: Path) -> str:
    """What the processes over these data are known by: see `postgres_named`."""
    return f"receiver-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"


def pid_file(data: Path) -> list[str]:
    """The lines of a data folder's pid file, if there is one."""
    with suppress(FileNotFoundError):
        return (data / "postmaster.pid").read_text().splitlines()
    return []


def clear_leftovers(data: Path) -> None:
    """Wait for processes of an earlier server of these data, then remove its pid file.

    Backends of a killed server end on their own when they notice; while one is left, its shared memory keeps a new
    server from starting. A pid file alone says nothing: its pid may be anybody's by now.

    Raises:
        EmbeddedError: `embedded_locked`, somebody runs a PostgreSQL of their own over these data.
    """
    bury(lambda: postgres_named(cluster_name(data)), LEFTOVER_SECONDS)
    pid = pid_file(data)[:1]
    if pid and pid[0].isdecimal() and postgres_in(data, int(pid[0])):
        raise locked(data, pid[0])
    (data / "postmaster.pid").unlink(missing_ok=True)


class PostgresServer(Server):
    """PostgreSQL over one data folder.

    Args:
        launcher: starts it.
        log: its output; appended to.
        state: its port and password.
        save: called after each start.
        binaries: PostgreSQL's programs.
        data: the data folder.
        settings: run-time parameters (postgresql.conf), over our defaults.
    """

    name = "PostgreSQL"
    death_signal = SIGQUIT
    stop_signal = SIGINT  # "fast": sessions are ended, not waited for
    immediate_signal = SIGQUIT

    def __init__(
        self,
        launcher: Launcher,
        log: Path,
        state: ServerState,
        save: Callable[[], None],
        *,
        binaries: Binaries,
        data: Path,
        settings: Mapping[str, str],
    ) -> None:
        super().__init__(launcher, log, state, save)
        self.data = data
        self._binaries = binaries
        self._settings = settings

    @property
    def url(self) -> str:
        """Where clients connect."""
        return postgres_url(self._state)

    def clear_leftovers(self) -> None:
        """As the function of that name."""
        clear_leftovers(self.data)

    def _command(self) -> list[str]:
        fixed = {
            "port": str(self.port),
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",  # a path that is long enough to be unique may be too long for a socket
            "cluster_name": cluster_name(self.data),
        }
        settings = {**DEFAULTS, **self._settings, **fixed}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return [str(self._binaries.postgres("postgres")), "-D", str(self.data), *options]

    def _stdin(self) -> str:
        return ""

    def _answers(self, pid: int) -> bool:
        lines = pid_file(self.data)
        return len(lines) > STATUS_LINE and lines[0] == str(pid) and lines[STATUS_LINE].strip() == "ready"

    def _family(self) -> list[int]:
        return postgres_named(cluster_name(self.data))
