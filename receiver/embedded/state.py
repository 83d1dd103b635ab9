"""What a folder's servers are reached by: `servers.json`, kept for the next start and read by other commands."""

import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from receiver.embedded.errors import EmbeddedError
from receiver.embedded.folder import open_in
from receiver.embedded.processes import Process

FILE = "servers.json"


def new_password() -> str:
    """A random password that needs no quoting in a URL, in SQL or in a configuration file."""
    return secrets.token_hex(16)


@dataclass(kw_only=True, slots=True)
class ServerState:
    """One server's part."""

    port: int = 0  # 0: none chosen yet
    password: str = field(default_factory=new_password)
    process: Process | None = None  # who serves, or served last; None after a clean stop


@dataclass(kw_only=True, slots=True)
class State:
    """What the file holds."""

    lock: int = 0  # inode of the folder's lock file: tells the folder from a copy of it
    program: Process | None = None  # who started the servers; None after a clean stop
    postgres: ServerState = field(default_factory=ServerState)
    valkey: ServerState = field(default_factory=ServerState)


class Record:
    """The file while we hold the folder's lock; a context manager, whose end records that nothing runs.

    Args:
        directory: where the file is.
        lock: inode of the folder's lock file.
    """

    def __init__(self, directory: Path, lock: int) -> None:
        found = load(directory)
        self.is_lost = found is None  # the file was, if there are data nevertheless
        self.state = found or State()
        self.state.lock = lock
        self.state.program = Process.find(os.getpid())
        self._directory = directory

    def save(self) -> None:
        """Write the state, durably."""
        write(self._directory, self.state)
        self.is_lost = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.state.program = self.state.postgres.process = self.state.valkey.process = None
        if not self.is_lost:  # else the new password is not the data's: it must stay lost
            with suppress(EmbeddedError, OSError):  # the folder itself may be gone
                self.save()


def load(directory: Path) -> State | None:
    """What was saved last; None if there is nothing, or nothing that makes sense.

    Raises:
        EmbeddedError: `embedded_folder`, it is there, but not for us to read.
    """
    try:
        saved = json.loads((directory / FILE).read_text())
        return State(
            lock=int(saved["lock"]),
            program=_process(saved["program"]),
            postgres=_server(saved["postgres"]),
            valkey=_server(saved["valkey"]),
        )
    except PermissionError:
        raise EmbeddedError("embedded_folder", f"{directory / FILE} belongs to another user") from None
    except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError):
        return None


def write(directory: Path, state: State) -> None:
    """Replace the file as a whole, so that a reader, or a crash, never meets half of one."""
    content = {
        "lock": state.lock,
        "program": _text(state.program),
        "postgres": _fields(state.postgres),
        "valkey": _fields(state.valkey),
    }
    fresh = f".{FILE}.new"
    with os.fdopen(open_in(directory, fresh, os.O_WRONLY | os.O_TRUNC), "w") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())  # the password of a database that may outlive a power cut
    (directory / fresh).replace(directory / FILE)


def _server(saved: dict[str, object]) -> ServerState:
    port, password, process = saved["port"], saved["password"], saved["process"]
    return ServerState(port=int(str(port)), password=str(password), process=_process(process))


def _fields(server: ServerState) -> dict[str, object]:
    return {"port": server.port, "password": server.password, "process": _text(server.process)}


def _process(saved: object) -> Process | None:
    return None if saved is None else Process.parse(str(saved))


def _text(process: Process | None) -> str | None:
    return None if process is None else str(process)
