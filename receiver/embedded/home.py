"""Where the data live: in the folder, unless root runs the servers as somebody who cannot reach it."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from receiver.embedded.errors import EmbeddedError
from receiver.embedded.folder import FolderLock, open_in
from receiver.embedded.privileges import PUBLIC_ROOTS, Account, can_reach, make_public, public_root, usable_root

NOTE = "data-is-elsewhere.txt"
DATA = "postgres"  # the cluster's folder in the home


@contextmanager
def opened_home(directory: Path, account: Account, on_step: Callable[[str], None]) -> Iterator[Path]:
    """The folder itself, or a place of root's, made ready and locked, that a note in the folder names.

    Data there without a note in the folder are those of a folder that was deleted since: they go too.

    Raises:
        EmbeddedError: `embedded_folder`, the data are where they cannot be used; `embedded_locked`, the place is in use
            by servers of a folder that was deleted.
    """
    home = _choose(directory, account)
    if home == directory:
        yield home
        return
    make_public(home.parent)
    make_public(home)
    with FolderLock(home):
        on_step(f"keeping the data in {home}, for the servers cannot reach {directory}")
        if noted_home(directory) is None:
            shutil.rmtree(home / DATA, ignore_errors=True)
            _write_note(directory, home)
        yield home


def noted_home(directory: Path) -> Path | None:
    """The place that the folder's note names; None without a note.

    Raises:
        EmbeddedError: `embedded_folder`, the note came with a folder that was copied or moved here.
    """
    with suppress(FileNotFoundError):
        for line in (directory / NOTE).read_text().splitlines():
            place = Path(line)
            if place.parent.parent in PUBLIC_ROOTS:
                return _own(directory, place)
    return None


def _choose(directory: Path, account: Account) -> Path:
    if not account.is_other:
        return directory
    if (place := noted_home(directory)) is not None:
        usable_root(account, [place.parent.parent])  # somebody else may have made it anew since
        return place
    if can_reach(account, [directory]):
        return directory
    if (directory / DATA).exists():
        raise EmbeddedError(
            "embedded_folder",
            f"uid {account.uid}, whose data are in {directory}, can no longer enter it; let it, or move the folder",
        )
    return public_root(account) / "data" / _name(directory)


def _own(directory: Path, place: Path) -> Path:
    if place.name == _name(directory):
        return place
    raise EmbeddedError(
        "embedded_folder",
        f"{directory / NOTE} names {place}, made for a folder of another name; to keep those data move them to "
        f"{place.with_name(_name(directory))} and correct the note, to begin anew delete the note",
    )


def _name(directory: Path) -> str:
    return hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]


def _write_note(directory: Path, home: Path) -> None:
    with os.fdopen(open_in(directory, NOTE, os.O_WRONLY | os.O_TRUNC), "w") as note:
        note.write(
            f"The data of this folder are in\n{home}\nas the servers cannot reach them here. Delete both together.\n"
        )
