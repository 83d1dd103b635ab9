"""The folder that one program at a time may use, and the files that we make in it."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from receiver.embedded.errors import EmbeddedError

_held: set[int] = set()  # descriptors of locks; see _let_go_after_fork


def prepare(directory: Path) -> Path:
    """Make the folder if need be and give its real path.

    Raises:
        EmbeddedError: `embedded_folder`, it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError("embedded_folder", f"cannot make the folder {directory}: {error.strerror}") from error
    return directory.resolve()


def open_in(directory: Path, name: str, flags: int) -> int:
    """Open a file there that only the folder's owner may read, also when root makes it in somebody's folder.

    No link is followed: a folder's owner must not be able to point root at a file elsewhere.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        EmbeddedError: `embedded_folder`, it cannot be opened.
    """
    try:
        descriptor = os.open(directory / name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedError(
            "embedded_folder", f"cannot use {directory / name}: {error.strerror}; made by another user?"
        ) from error
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


class FolderLock:
    """An exclusive lock on a folder, as a context manager; it ends with the program however that ends."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Take the lock and leave our pid in it.

        Raises:
            EmbeddedError: `embedded_locked`, another program has it.
        """
        descriptor = open_in(self._directory, "lock", os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise locked(self._directory, holder) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        _held.add(descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def inode(self) -> int:
        """The number of the lock's file, which a copy of the folder does not share; 0 without the lock."""
        return 0 if self._descriptor is None else os.fstat(self._descriptor).st_ino


def locked(directory: Path, holder: str) -> EmbeddedError:
    """The error for a folder that is in use, with the pid of its user where that is known."""
    by = f"by process {holder}" if holder else "by another program"
    return EmbeddedError("embedded_locked", f"{directory} is in use {by}; stop that, or choose another folder")


def _let_go_after_fork() -> None:
    """A forked child shares the lock, and would hold it long after the program was killed."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
