"""What no other test notices when it rots: locks, the Makefile and what is written about it, the version."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
LOCKS = sorted((CHECKOUT / "requirements").glob("*.txt"))
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
WRITTEN = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[a-z0-9,-]+\])?==\S+( ; .+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def test_there_are_locks_for_each_use() -> None:
    assert [path.stem for path in LOCKS] == ["bench", "build", "demo", "dev", "runtime"]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_pins_and_hashes_and_nothing_else(path: Path) -> None:
    """No option and no address: neither which index they come from, nor a folder of whoever wrote it."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in lines if not PACKAGE.fullmatch(line) and not HASH.fullmatch(line)] == []
    assert [line for line in path.read_text().splitlines() if re.search(r"://|@|(^|\s)(/|~|\.\./)", line)] == []


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_the_locks_agree(path: Path) -> None:
    """One environment can hold any of them on top of another."""
    development = _pins(CHECKOUT / "requirements" / "dev.txt")
    assert {name: pin for name, pin in _pins(path).items() if development.get(name, pin) != pin} == {}


def test_the_locks_hold_what_the_project_asks_for() -> None:
    asked = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    project, extras = asked["project"]["dependencies"], asked["project"]["optional-dependencies"]
    wanted = {
        "runtime": project,
        "demo": [*project, *extras["embedded"]],
        "bench": [*project, *extras["embedded"], *extras["bench"]],
        "dev": [*project, *extras["embedded"], *extras["test"]],
        "build": asked["build-system"]["requires"],
    }
    missing = {
        lock: {_name(requirement) for requirement in requirements} - _pins(CHECKOUT / f"requirements/{lock}.txt").keys()
        for lock, requirements in wanted.items()
    }
    assert not any(missing.values()), f"run `make lock`: {missing}"


@pytest.mark.parametrize("path", [path for path in WRITTEN if path.exists()], ids=lambda path: path.name)
def test_every_target_that_is_written_about_exists(path: Path) -> None:
    """In prose as `make …`, in blocks of commands as a line of their own."""
    written = set(re.findall(r"(?:`|^\s*(?:\$ )?)make ([a-z][a-z-]*)", path.read_text(), re.MULTILINE))
    assert written - TARGETS == set()


def test_make_alone_lists_the_targets() -> None:
    listed = subprocess.run(["make", "-C", str(CHECKOUT)], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z-]+)", listed, re.MULTILINE)) == TARGETS


def test_ci_runs_as_it_stands() -> None:
    assert os.access(CHECKOUT / ".ci" / "run", os.X_OK)


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    changelog = CHECKOUT / "CHANGELOG.md"
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+)", changelog.read_text(), re.MULTILINE)
    assert versions[0] == tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]


def _pins(path: Path) -> dict[str, str]:
    """Name and version of each package; a name that is pinned twice, for two systems, has both."""
    pins: dict[str, str] = {}
    for found in re.finditer(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)(.*)\\$", path.read_text(), re.MULTILINE):
        pins[found[1]] = pins.get(found[1], "") + found[2]
    return pins


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()
