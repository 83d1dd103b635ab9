"""What another program may ask of a folder: whether servers run there, and to be rid of it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from receiver.embedded.folder import FolderLock
from receiver.embedded.home import DATA, noted_home
from receiver.embedded.postgres import clear_leftovers, postgres_url
from receiver.embedded.state import load
from receiver.embedded.valkey import valkey_url


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningUrls:
    """Where a running pair is reached."""

    database_url: str
    redis_url: str
    pid: int  # of the program that runs them


def find_running(directory: Path) -> RunningUrls | None:
    """The pair that runs over this folder now; None if none does.

    What the file says is believed only while the program and both servers are the very processes that it names (pid
    and time of birth), and only in the folder that it was written for.

    Raises:
        EmbeddedError: `embedded_folder`, the folder is another user's.
    """
    state = load(directory)
    if state is None or state.program is None or not _is_of(directory, state.lock):
        return None
    if not all(it is not None and it.lives for it in (state.program, state.postgres.process, state.valkey.process)):
        return None
    return RunningUrls(
        database_url=postgres_url(state.postgres),
        redis_url=valkey_url(state.valkey),
        pid=state.program.pid,
    )


def discard(directory: Path) -> None:
    """Delete a folder with its data, wherever those are. Nothing happens without the folder.

    Raises:
        EmbeddedError: `embedded_locked`, servers run there.
    """
    if not directory.exists():
        return
    real = directory.resolve()
    with FolderLock(real):
        home = noted_home(real)
        if home is not None and home.exists():
            with FolderLock(home):
                _delete(home)
        _delete(real)


def _delete(home: Path) -> None:
    clear_leftovers(home / DATA)  # a killed program's servers may still be writing
    shutil.rmtree(home)


def _is_of(directory: Path, lock: int) -> bool:
    path = directory / "lock"
    return path.exists() and path.stat().st_ino == lock
