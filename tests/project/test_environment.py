"""What `make` does to a virtual environment before anything else runs: made, completed, made anew, or left alone.

On a project of its own that needs no package, since there may be no network where tests run.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "tiny"
version = "1"
"""
BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name, about = "tiny-1-py3-none-any.whl", "tiny-1.dist-info"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{about}/RECORD", "")
    return name
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A checkout with a space in its path."""
    made = tmp_path / "a project"
    shutil.copytree(CHECKOUT / "scripts", made / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (made / "pyproject.toml").write_text(PROJECT)
    (made / "backend.py").write_text(BACKEND)
    (made / "requirements").mkdir()
    for lock in ("build", "demo", "dev"):
        (made / "requirements" / f"{lock}.txt").write_text(f"# {lock}\n")
    return made


def ensure(project: Path, lock: str = "demo") -> tuple[int, str]:
    """What the Makefile runs; exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.environment", ".venv", lock],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "", "stdout belongs to the target"
    return done.returncode, done.stderr


def test_an_environment_is_made_once_and_again_when_it_must(tiny: Path) -> None:
    stranger = tiny / ".venv" / "stranger"
    stranger.parent.mkdir()
    stranger.touch()
    (tiny / ".venv" / "made-by-make.json").write_text(json.dumps({"where": "unfinished"}))
    code, said = ensure(tiny)
    assert (code, stranger.exists()) == (0, False), f"an earlier one was interrupted; {said}"
    assert list(tiny.glob(".venv/lib/python*/site-packages/tiny-1.dist-info"))
    assert ensure(tiny) == (0, ""), "nothing has changed"

    stranger.touch()
    code, said = ensure(tiny, "dev")
    assert (code, stranger.exists()) == (0, True), f"another lock goes on top; {said}"
    assert ensure(tiny, "demo") == (0, ""), "it is a part of the other"

    (tiny / "requirements" / "unhashed.txt").write_text("idna==3.10\n")
    code, said = ensure(tiny, "unhashed")
    assert (code, "hash" in said.lower()) == (1, True), said

    (tiny / "requirements" / "dev.txt").write_text("# changed\n")
    code, said = ensure(tiny)
    assert (code, stranger.exists()) == (0, False), f"what a lock dropped must go, too; {said}"

    moved = tiny.rename(tiny.with_name("moved here"))
    code, said = ensure(moved)
    assert (code, "making .venv" in said) == (0, True), "its programs name the old place"


def test_an_environment_of_somebody_else_is_left_alone(tiny: Path) -> None:
    theirs = tiny / ".venv" / "pyvenv.cfg"
    theirs.parent.mkdir()
    theirs.write_text("home = elsewhere\n")
    code, said = ensure(tiny)
    assert code == 1
    assert "was not made by make" in said
    assert theirs.read_text() == "home = elsewhere\n"
