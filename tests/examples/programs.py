"""Programs of ours, run as somebody would run them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
NOTHING: Mapping[str, str] = {}


def environment(folder: Path) -> dict[str, str]:
    """What a program in `folder` gets: nothing of the test's own."""
    return {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}


def start(folder: Path, arguments: tuple[str, ...], more: Mapping[str, str] = NOTHING) -> subprocess.Popen[bytes]:
    """Begin a program; its log lies in the folder."""
    command = [sys.executable, "-m", "receiver", *arguments, "--operator-port", "0", "--json"]
    with (folder / f"{arguments[0]}.log").open("ab") as log:
        return subprocess.Popen(
            command, cwd=folder, env={**environment(folder), **more}, stdout=subprocess.PIPE, stderr=log
        )


@contextmanager
def program(folder: Path, *arguments: str, more: Mapping[str, str] = NOTHING) -> Iterator[dict[str, str]]:
    """A program of ours, stopped in good order at the end; where it listens."""
    running = start(folder, arguments, more)
    assert running.stdout
    try:
        said = b""
        while not said.rstrip().endswith(b"}"):
            line = running.stdout.readline()
            assert line, (folder / f"{arguments[0]}.log").read_text()
            said += line
        yield json.loads(said)
    finally:
        running.send_signal(signal.SIGTERM)
        running.stdout.close()
        assert running.wait(30) == 0
