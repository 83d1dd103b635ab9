"""The receiver as a program of its own, for tests that kill it or read its log."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import receiver
from receiver.embedded.ports import free_port
from receiver.embedded.processes import wait_for

SECONDS = 40.0
SHOP = Path(__file__).with_name("shop.py")
SHIFTED = Path(__file__).parents[1] / "faults" / "shifted.py"


def runner(clock: float) -> list[str]:
    """What `python` is given to run `receiver` with a clock that is wrong by so many seconds."""
    return [str(SHIFTED), str(clock), "receiver"] if clock else ["-m", "receiver"]


class Program:
    """`python -m receiver …` in a folder with settings and handlers.

    Args:
        folder: gets `receiver.toml` and `shop.py`.
        settings: beside the sources.
        sources: sections of the settings file.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, object], sources: Mapping[str, Mapping[str, object]]
    ) -> None:
        self.folder = folder
        self.ports: list[int] = []
        self.operators: list[int] = []
        self._running: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHOP, folder)
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        for name, source in sources.items():
            lines += [f"[sources.{name}]", *(f"{key} = {toml(value)}" for key, value in source.items())]
        (folder / "receiver.toml").write_text("\n".join(lines))

    @property
    def log(self) -> Path:
        """All that the programs of this folder said on stderr."""
        return self.folder / "log"

    def start(
        self, command: str, *, failpoint: str = "", processes: int = 1, clock: float = 0
    ) -> subprocess.Popen[bytes]:
        """Start `serve`, `work` or `up` and wait until it is ready; its public port is the last of `ports`.

        Args:
            command: which of them.
            failpoint: where it dies.
            processes: of `serve`.
            clock: seconds by which its clock is wrong.
        """
        options = ["--processes", str(processes), "--port", str(free_port(0))] if processes > 1 else []
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *runner(clock), command, "shop:receiver", "--json", *options],
                cwd=self.folder,
                env={**environment, "PYTHONPATH": _path(), **({"RECEIVER_FAILPOINT": failpoint} if failpoint else {})},
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._running.append(process)
        for _ in range(processes):
            said = self._said(process)
            self.operators.append(urlsplit(str(said["operator_url"])).port or 0)
            if said["url"] is not None:
                self.ports.append(urlsplit(said["url"]).port or 0)
        return process

    @property
    def port(self) -> int:
        """The public port of the last server."""
        return self.ports[-1]

    def stop(self) -> None:
        """SIGTERM all; none may need more, and none may end badly unless a test killed it."""
        alive = [process for process in self._running if process.poll() is None]
        for process in alive:
            process.terminate()
        for process in self._running:
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self._running.clear()
        assert {process.returncode for process in alive} <= {0}, self.log.read_text()

    def _said(self, process: subprocess.Popen[bytes]) -> dict[str, str | None]:
        """The next JSON document on its standard output."""
        assert process.stdout is not None
        text = b""
        deadline = time.monotonic() + SECONDS
        while True:
            # Byte by byte and unbuffered: what is behind the document belongs to the next one.
            ready, _, _ = select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))
            part = os.read(process.stdout.fileno(), 1) if ready else b""
            assert part, f"the program did not start:\n{self.log.read_text()}"
            text += part
            if part == b"}":
                said: dict[str, str | None] = json.loads(text)
                return said


def ended(process: subprocess.Popen[bytes], seconds: float = SECONDS) -> int | None:
    """The status of a process that is to end by itself; None if it did not."""
    wait_for(lambda: process.poll() is not None, seconds)
    return process.returncode


def toml(value: object) -> str:
    """A value as TOML writes it: as JSON does, but for tables."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(toml(part) for part in value)}]"
    return json.dumps(value)


def _path() -> str:
    """Where the receiver under test lies, for a process in another folder."""
    return os.pathsep.join([str(Path(receiver.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
