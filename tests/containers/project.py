"""A running project of docker-compose.yml, and how to look into it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
OURS = ("migrate", "tables", "serve", "work")
SECRETS = {"POSTGRES_PASSWORD": "madeup", "STRIPE_SECRET": "whsec_madeup"}
SOURCE = {"RECEIVER_SOURCES__STRIPE__PROVIDER": "stripe", "RECEIVER_SOURCES__STRIPE__SECRETS": '["env:STRIPE_SECRET"]'}
DEADLINE = 60.0  # seconds


def output(*command: str, env: Mapping[str, str] | None = None) -> str:
    """What a command prints on stdout. Its stderr is the message if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until it holds, for as long as `DEADLINE`."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not in {DEADLINE} seconds: {what}"
        time.sleep(0.2)


@dataclass(frozen=True, kw_only=True)
class Project:
    """One `docker compose up`."""

    name: str  # of the project and of its image
    command: list[str]

    def compose(self, *arguments: str) -> str:
        return output(*self.command, *arguments, env={**SECRETS, "PUBLIC_PORT": "0"})

    @property
    def url(self) -> str:
        """The public listener, from outside."""
        return f"http://{self.compose('port', 'serve', '8000')}"

    def send(self, count: int, duplicates: float) -> dict[str, object]:
        """Signed callbacks from outside, by `receiver send`; its summary."""
        options = ["--to", self.url, "--count", str(count), "--duplicates", str(duplicates), "--json"]
        command = [sys.executable, "-m", "receiver", "send", "stripe", "payment_intent.succeeded", *options]
        summary: dict[str, object] = json.loads(output(*command, env={**SECRETS, **SOURCE}))
        return summary

    def query(self, statement: str) -> str:
        """The first value that the database answers."""
        psql = ["psql", "--username=payments", "--dbname=payments", "--no-align", "--tuples-only"]
        return self.compose("exec", "-T", "postgres", *psql, f"--command={statement}")

    def container(self, service: str) -> str:
        """The id of a service's container, stopped or not."""
        labels = {"service": service, "project": self.name}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        return output("docker", "ps", "--all", "--quiet", *filters)

    def state(self, service: str, field: str) -> str:
        """A field of the state of a service's container."""
        return output("docker", "inspect", f"--format={{{{.State.{field}}}}}", self.container(service))
