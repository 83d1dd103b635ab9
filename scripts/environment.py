"""Makes the virtual environment that a target of the Makefile runs in, from a lock, when there is none or it changed.

    python3 -m scripts.environment .venv dev

Nothing but Python is needed for it. All that it says goes to stderr: stdout belongs to the target.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.packages import install, install_locked, make_empty
from scripts.say import Failed, say

_ROOT: Final = Path(__file__).resolve().parents[1]
_LOCKS: Final = _ROOT / "requirements"
_STAMP: Final = "made-by-make.json"
_BUILD: Final = "build"  # what installs the project itself; asking for it unlocked would take whatever is newest
_PART_OF: Final = {"demo": {"dev", "bench"}}  # with the same versions
_ARGUMENTS: Final = 3

Stamp = dict[str, str]


def main() -> int:
    """Make or complete the environment; the exit code."""
    if len(sys.argv) != _ARGUMENTS:
        say(f"usage: {sys.argv[0]} FOLDER LOCK, where LOCK is a file of requirements/ without its ending")
        return 2
    folder, name = Path(sys.argv[1]), sys.argv[2]
    try:
        with _alone():
            _ensure(folder, name)
    except Failed as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.filename}: {error.strerror}; is {folder} another account's? Then remove it, or set VENV=elsewhere")
        return 1
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time over this checkout: two targets may be started side by side."""
    place = os.open(_ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another make")
            fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _ensure(folder: Path, name: str) -> None:
    where = f"{folder.resolve()} of {_ROOT}, {sys.base_prefix} {sys.version}"
    stamp = _read(folder)
    if stamp is None or not _still_right(stamp, where):
        stamp = _make_anew(folder, where)
    for lock in (_BUILD, name):
        if stamp.keys().isdisjoint({lock, *_PART_OF.get(lock, ())}):
            path = _LOCKS / f"{lock}.txt"
            digest = _digest(path)  # before: the file may change while it is being installed
            install_locked(folder, path)
            stamp = _write(folder, {**stamp, lock: digest})
    project = _digest(_ROOT / "pyproject.toml")
    if stamp.get("project") != project:
        install(folder, "--no-deps", "--no-build-isolation", "--editable", str(_ROOT))
        _write(folder, {**stamp, "project": project})


def _still_right(stamp: Stamp, where: str) -> bool:
    """Whether the places, the Python and every lock that went in are the same: what a lock dropped must go, too."""
    locks = {name: digest for name, digest in stamp.items() if name not in {"where", "project"}}
    return stamp["where"] == where and all(_digest(_LOCKS / f"{name}.txt") == locks[name] for name in locks)


def _make_anew(folder: Path, where: str) -> Stamp:
    say(f"making {folder} for Python {sys.version.split()[0]}")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    # Stamped before it is whole: what was interrupted is ours to throw away, anybody else's is not.
    _write(folder, {"where": "unfinished"})
    make_empty(folder)
    return _write(folder, {"where": where})


def _read(folder: Path) -> Stamp | None:
    """What went into the environment; None where there is none yet.

    Raises:
        Failed: there is one that we did not make.
    """
    try:
        stamp: Stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if folder.exists() and any(folder.iterdir()):
            raise Failed(f"{folder} was not made by make: remove it, or set VENV=elsewhere") from None
        return None
    except ValueError:
        return {"where": "unreadable"}
    return stamp


def _write(folder: Path, stamp: Stamp) -> Stamp:
    path = folder / _STAMP
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)
    return stamp


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
