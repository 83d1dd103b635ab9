"""Starts the programs that are measured, and reads what processor time each has used."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_UP_SECONDS = 30.0


def cpu_seconds(pid: int, *, children: bool = False) -> float:
    """User and system time of a process so far, with that of its present children if asked for."""
    total = 0.0
    for entry in (folder.name for folder in Path("/proc").iterdir()) if children else [str(pid)]:
        if not entry.isdigit():
            continue
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended meanwhile
            continue
        if int(entry) == pid or int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


@dataclass(frozen=True)
class Watched:
    """A process whose CPU is read."""

    name: str
    pid: int
    children: bool = False


@contextmanager
def watching(processes: list[Watched], into: dict[str, float]) -> Iterator[None]:
    """Fill `into` with each process's CPU over the block, in percent of one core."""
    before = {process.name: cpu_seconds(process.pid, children=process.children) for process in processes}
    started = time.perf_counter()
    yield
    elapsed = time.perf_counter() - started
    for process in processes:
        used = cpu_seconds(process.pid, children=process.children) - before[process.name]
        into[process.name] = round(100 * used / elapsed)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def program(arguments: list[str], env: Mapping[str, str], *, port: int | None) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m …` until the block ends; waits until `port` answers.

    Raises:
        RuntimeError: it ended by itself.
    """
    running = subprocess.Popen([sys.executable, "-m", *arguments], env={**os.environ, **env}, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + _UP_SECONDS
        while port is not None and not _answers(port):
            if running.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{' '.join(arguments)} did not start: run it by hand to see why")
            time.sleep(0.05)
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(30)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
