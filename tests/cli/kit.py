"""What the tests of the command line share: how a command ended, a program that runs, a shop."""

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from receiver.cli.demo.home import write_settings
from receiver.sources import Signed, Source


@dataclass(frozen=True)
class Ended:
    """A command that ran."""

    code: int
    out: str
    err: str

    def json(self) -> object:
        return json.loads(self.out)

    def rows(self) -> list[dict[str, object]]:
        rows = self.json()
        assert isinstance(rows, list)
        return rows

    def fields(self) -> dict[str, object]:
        fields = self.json()
        assert isinstance(fields, dict)
        return fields


Cli = Callable[..., Ended]
AT = 1_760_000_000
"""2025-10-09 08:53:20 UTC."""
Start = Callable[..., "Running"]
Sources = Mapping[str, Mapping[str, object]]


def write_sources(folder: Path, sources: Sources) -> None:
    """A settings file with nothing but sources."""
    write_settings(folder, sources, 0)
    lines = (folder / "receiver.toml").read_text().splitlines()
    (folder / "receiver.toml").write_text("\n".join(lines[2:]) + "\n")  # the first two name servers and port


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}


@dataclass
class Running:
    """A program that runs until it is told to stop."""

    process: subprocess.Popen[bytes]
    errors: Path
    listening: dict[str, str] = field(default_factory=dict)

    def read_json(self) -> dict[str, object]:
        """The next JSON object that it prints."""
        assert self.process.stdout is not None
        lines: list[bytes] = []
        for line in self.process.stdout:
            lines.append(line)
            if line == b"}\n":
                found = json.loads(b"".join(lines))
                assert isinstance(found, dict)
                return found
        raise AssertionError(self.errors.read_text())

    def interrupt(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@dataclass(frozen=True)
class Shop:
    """A running `receiver up` with handlers, and a database of its own."""

    url: str
    database_url: str
    redis_url: str


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def signed(source: Source, at: int = AT) -> Signed:
    payload = source.provider.sample("paid", external_id="evt_42", entity_id="order-42", created=at)
    return source.sign(payload, at)


def as_json(callback: Signed) -> bytes:
    body = base64.b64encode(callback.body).decode()
    return json.dumps(
        {"method": "POST", "url": None, "query": None, "headers": callback.headers, "body_b64": body}
    ).encode()
