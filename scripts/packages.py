"""pip in a virtual environment: where it comes from, and how it installs."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from scripts.say import Failed, say

_DEBIAN_WHEELS: Final = Path("usr/share/python-wheels")
_DEBIAN_PACKAGE: Final = "python3-pip-whl"
_ADVICE: Final = "this python3 comes without pip; as root: apt-get install python3-venv"


def make_empty(folder: Path) -> None:
    """Make a virtual environment with pip in it.

    Raises:
        Failed: there is no pip to be had.
    """
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    _add_pip(folder)


def _add_pip(folder: Path) -> None:
    """Put pip into an environment that has none.

    Debian splits `ensurepip` off python3. Its package of pip's wheel can be had without root and without installing
    it, from wherever this machine's apt gets its packages.
    """
    if importlib.util.find_spec("ensurepip") is not None:
        _run([_python(folder), "-Im", "ensurepip", "--default-pip"])
        return
    with tempfile.TemporaryDirectory(prefix="receiver-pip-") as temporary:
        wheel = _wheel(Path("/")) or _downloaded(Path(temporary))
        _run([_python(folder), f"{wheel}/pip", "install", "--quiet", "--no-index", "--no-cache-dir", str(wheel)])


def install_locked(folder: Path, lock: Path) -> None:
    """Install a lock's packages: wheels only, since building one would fetch what no lock names.

    Raises:
        Failed: pip did.
    """
    packages = sum(1 for line in lock.read_text(encoding="utf-8").splitlines() if "==" in line and line[0] not in " #")
    say(f"installing {packages} packages of {lock.parent.name}/{lock.name}")
    # Compiling ahead would take four times as long: most of it is never imported.
    locked = ["--require-hashes", "--only-binary", ":all:", "--no-compile", "--requirement", str(lock)]
    install(folder, *locked, packages=packages)


def install(folder: Path, *arguments: str, packages: int = 0) -> None:
    """Run `pip install`, with a count on a terminal; what it says is shown only if it fails.

    Args:
        folder: the environment.
        arguments: for pip.
        packages: how many are expected.

    Raises:
        Failed: pip did.
    """
    command = [_python(folder), "-Im", "pip", "--disable-pip-version-check", "install", "--no-input", *arguments]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, "PIP_USER": "0"}
        )
        with process:
            _count(process.stdout or (), packages)
        if process.returncode != 0:
            errors.seek(0)
            raise Failed(f"pip failed:\n{errors.read()}")


def _count(lines: IO[str] | tuple[str, ...], packages: int) -> None:
    shown = packages > 0 and sys.stderr.isatty()
    seen = 0
    for line in lines:
        seen += line.startswith("Collecting ")
        if shown:
            sys.stderr.write(f"\r  {min(seen, packages)}/{packages}\x1b[K")
            sys.stderr.flush()
    if shown:
        sys.stderr.write("\r\x1b[K")


def _wheel(root: Path) -> Path | None:
    return next((root / _DEBIAN_WHEELS).glob("pip-*.whl"), None)


def _downloaded(temporary: Path) -> Path:
    """Take the wheel out of Debian's package: with the lists that the machine has, else with fresh ones of our own."""
    say(f"python3 comes without pip: taking it out of Debian's {_DEBIAN_PACKAGE}")
    own = [f"--option=Dir::State={temporary}/state", f"--option=Dir::Cache={temporary}/cache"]
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (temporary / folder).mkdir(parents=True)
    try:
        with _within(temporary):
            _fetch(own)
            package = next(temporary.glob(f"{_DEBIAN_PACKAGE}_*.deb"))
            _run(["dpkg-deb", "--extract", str(package), str(temporary)])
    except (Failed, OSError, StopIteration) as error:
        raise Failed(f"{_ADVICE}\n{error}") from error
    wheel = _wheel(temporary)
    if wheel is None:
        raise Failed(_ADVICE)
    return wheel


def _fetch(own: list[str]) -> None:
    # Root's apt would step down to an account that cannot write here.
    apt = ["apt-get", "--quiet", "--quiet", "--option=APT::Sandbox::User=root"]
    download = ["download", _DEBIAN_PACKAGE]
    try:
        _run([*apt, *download])
    except Failed:
        _run([*apt, *own, "update"])
        _run([*apt, *own, *download])


@contextmanager
def _within(folder: Path) -> Iterator[None]:
    """`apt-get download` writes to the current folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command[:3])} failed:\n{done.stderr or done.stdout}")


def _python(folder: Path) -> str:
    return str(folder.absolute() / "bin" / "python")
