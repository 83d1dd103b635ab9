"""SIGHUP at bad moments: while a program starts, and because its terminal is gone."""

import os
import pty
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from receiver.embedded import ports
from receiver.sources import made_up
from tests.cli.kit import Running, Start, until, write_sources
from tests.cli.test_reload import said, send, source

# The target says that it is being imported, and waits until it may go on.
SLOW = """
import os, sys, time
from pathlib import Path

from receiver import Receiver

role = "member" if "--member" in sys.argv else "first"
Path(f"{role}-{os.getpid()}").touch()
while not Path(f"may-go-{role}").exists():
    time.sleep(0.01)

receiver = Receiver()
"""
OURS = """
from receiver import Receiver

receiver = Receiver()
"""


def begun(folder: Path, role: str, number: int, meanwhile: Callable[[], None] = lambda: None) -> None:
    def all_there() -> bool:
        meanwhile()
        return len([*folder.glob(f"{role}-*")]) == number

    until(all_there)


def command(processes: int, port: int = 0) -> tuple[object, ...]:
    many = ("--processes", processes) if processes > 1 else ()
    return ("serve", "payments:receiver", *many, "--port", port, "--operator-port", 0, "--json")


@pytest.mark.parametrize("processes", [1, 2])
def test_it_waits_until_the_program_is_ready(
    folder: Path, variables: dict[str, str], started: Start, processes: int
) -> None:
    old, new = made_up("stripe"), made_up("stripe")
    (folder / "payments.py").write_text(SLOW)
    write_sources(folder, {"shop": old})
    port = ports.free_port(0)
    program = started(folder, *command(processes, port), variables=variables)

    def hang_up() -> None:
        os.kill(program.process.pid, signal.SIGHUP)

    for role, number in (("first", 1), ("member", processes))[:processes]:
        # A member is told from the moment on when it is there; the first cannot let it wait before it runs.
        begun(folder, role, number, hang_up if role == "member" else lambda: None)
        write_sources(folder, {"shop": new})
        hang_up()
        if role == "first" and processes > 1:
            write_sources(folder, {"shop": old})  # which the members still read
        (folder / f"may-go-{role}").touch()
    for _ in range(processes):
        program.read_json()
    until(lambda: said(program) >= processes)
    assert answers(port, new, times=20) == {200: 20}, "every process has read the new key"
    assert program.interrupt() == 0


def answers(port: int, settings: dict[str, object], times: int) -> Counter[int]:
    """Each over a connection of its own, so that every process is asked."""
    counted: Counter[int] = Counter()
    for number in range(times):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            counted[send(client, source(settings), number)] += 1
    return counted


@pytest.mark.parametrize("processes", [1, 2])
def test_a_program_whose_terminal_is_gone_ends(
    folder: Path, variables: dict[str, str], started: Start, processes: int
) -> None:
    (folder / "payments.py").write_text(OURS)
    write_sources(folder, {"shop": made_up("stripe")})
    terminal, program = in_terminal(started, folder, command(processes, ports.free_port(0)), variables)
    for _ in range(processes):
        program.read_json()
    os.kill(program.process.pid, signal.SIGHUP)
    until(lambda: said(program) == processes)  # for it was there
    os.close(terminal)
    assert program.process.wait(30) == 0
    assert said(program) == processes


def test_it_ends_too_when_that_happens_while_it_starts(folder: Path, variables: dict[str, str], started: Start) -> None:
    (folder / "payments.py").write_text(SLOW)
    write_sources(folder, {"shop": made_up("stripe")})
    terminal, program = in_terminal(started, folder, command(1), variables)
    begun(folder, "first", 1)
    os.close(terminal)
    (folder / "may-go-first").touch()
    assert program.process.wait(30) == 0
    assert '"event": "stopping"' in program.errors.read_text()


def in_terminal(
    started: Start, folder: Path, arguments: tuple[object, ...], variables: dict[str, str]
) -> tuple[int, Running]:
    """The program, and the end of its terminal that a person would hold."""
    ours, its = pty.openpty()
    program = started(folder, *arguments, variables=variables, terminal=its)
    os.close(its)
    return ours, program
