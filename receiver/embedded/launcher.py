"""Starts children that die with the program."""

import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from signal import Signals
from typing import Self

from receiver.embedded.errors import EmbeddedError
from receiver.embedded.folder import open_in
from receiver.embedded.privileges import BECOME, Account

RUN_SECONDS = 120.0
TAIL_LINES = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """One child to start."""

    command: list[str]
    death_signal: Signals  # what it gets when the program dies
    log: Path  # its output is appended there
    stdin: str = ""  # at most what a pipe holds, 64 KiB


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """One that was started."""

    process: subprocess.Popen[bytes]
    log: Path
    logged_before: int  # size of the log then, in bytes

    def failed(self, what: str) -> EmbeddedError:
        """An error that ends with the child's own last lines."""
        with self.log.open("rb") as log:
            log.seek(self.logged_before)
            lines = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        return EmbeddedError("embedded_start_failed", "\n".join([f"{what} (log: {self.log})", *lines]))


class Launcher:
    """Starts children from a thread of its own; a context manager, whose end is the end of every child left.

    The kernel sends the death signal when the *thread* that made the child ends, so a caller's thread will not do.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._queue: SimpleQueue[tuple[Launch, Future[Child]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="embedded-launcher", daemon=True)
        self._thread.start()

    def start(self, launch: Launch) -> Child:
        """Start a child, as our account, in a session of its own: a terminal's Ctrl-C is for the program alone."""
        started: Future[Child] = Future()
        self._queue.put((launch, started))
        return started.result()

    def run(self, launch: Launch) -> None:
        """Start a child and wait until it has done its work.

        Raises:
            EmbeddedError: `embedded_start_failed`, it failed or took too long.
        """
        child = self.start(launch)
        try:
            if child.process.wait(RUN_SECONDS) != 0:
                raise child.failed(f"{Path(launch.command[0]).name} failed with {child.process.returncode}")
        except subprocess.TimeoutExpired:
            raise child.failed(f"{Path(launch.command[0]).name} did not end in {RUN_SECONDS:.0f} s") from None
        finally:
            child.process.kill()
            child.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (order := self._queue.get()) is not None:
            launch, started = order
            try:
                started.set_result(self._popen(launch))
            except Exception as error:  # noqa: BLE001 -- handed to the thread that asked
                started.set_exception(error)

    def _popen(self, launch: Launch) -> Child:
        who = [str(self._account.uid), str(self._account.gid)]
        bound = [str(os.getpid()), str(int(launch.death_signal))]
        command = [sys.executable, "-I", "-S", BECOME, "run", *who, *bound, *launch.command]
        stdin = _pipe_with(launch.stdin)
        log = open_in(launch.log.parent, launch.log.name, os.O_WRONLY | os.O_APPEND)
        logged_before = os.fstat(log).st_size
        try:
            process = subprocess.Popen(command, stdin=stdin, stdout=log, stderr=log, cwd="/", start_new_session=True)
            return Child(process=process, log=launch.log, logged_before=logged_before)
        finally:
            os.close(stdin)
            os.close(log)


def _pipe_with(text: str) -> int:
    """The reading end of a pipe that holds the text: unlike a command line, nobody else can read it."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file:
        file.write(text)
    return reader
