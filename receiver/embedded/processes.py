"""Tells the living from the dead: which processes are still ours, and how to see the last of them off."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """One process, never confused with a later one of the same pid."""

    pid: int
    born: str  # boot id and clock ticks since boot: pids are reused, also after a reboot

    @classmethod
    def find(cls, pid: int) -> Self | None:
        """The living process of this pid; None where there is none. A zombie is dead."""
        try:
            stat = (PROC / str(pid) / "stat").read_text(errors="replace")
            boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, *fields = stat[stat.rindex(")") + 2 :].split()  # the name before may hold anything, blanks too
        return None if state in "ZX" else cls(pid=pid, born=f"{boot}/{fields[18]}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read back what `str()` gave.

        Raises:
            ValueError: it is not that.
        """
        pid, _, born = text.partition(" ")
        return cls(pid=int(pid), born=born)

    def __str__(self) -> str:
        return f"{self.pid} {self.born}"

    @property
    def lives(self) -> bool:
        """Whether this very process still runs."""
        return Process.find(self.pid) == self


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll, ever more slowly, until the condition holds; False if it did not in time."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return True


def bury(find: Callable[[], list[int]], grace: float) -> None:
    """Wait until every process that `find` names is gone, and kill what is left after the grace, in seconds.

    They are thawed first: a stopped process holds back the signal that it should die of.
    """
    send(find(), signal.SIGCONT)
    if not wait_for(lambda: not find(), grace):
        send(find(), signal.SIGKILL)
        wait_for(lambda: not find(), grace)


def send(pids: list[int], number: signal.Signals) -> None:
    """Signal each of them that still is."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def postgres_named(cluster_name: str) -> list[int]:
    """Every postgres process of that cluster, the server first.

    PostgreSQL shows `cluster_name` in each process's title, which anybody may read; a process's folder and binary are
    hidden from a root without CAP_SYS_PTRACE, as in most containers. The title alone would also match a `grep` for it.
    """
    found = [pid for pid in _pids() if _is_postgres(pid) and cluster_name in _read(pid, "cmdline")]
    return sorted(found, key=lambda pid: _read(pid, "cmdline").startswith("postgres:"))


def postgres_in(folder: Path, pid: int) -> bool:
    """Whether that process is a postgres over this data folder: by its working folder, or by its command if hidden."""
    if not _is_postgres(pid):
        return False
    try:
        return (PROC / str(pid) / "cwd").readlink() == folder
    except PermissionError:
        return str(folder) in _read(pid, "cmdline").split("\0")
    except OSError:
        return False


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()]


def _is_postgres(pid: int) -> bool:
    return _read(pid, "comm").strip() == "postgres"


def _read(pid: int, name: str) -> str:
    with suppress(OSError):
        return (PROC / str(pid) / name).read_text(errors="replace")
    return ""
