"""What PostgreSQL and Valkey have in common as children: start, readiness, signals, end."""

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import ClassVar

from receiver.embedded.errors import EmbeddedError
from receiver.embedded.launcher import Launch, Launcher
from receiver.embedded.processes import Process, send, wait_for
from receiver.embedded.state import ServerState

START_SECONDS = 60.0  # recovery after a crash may take a while
STOP_SECONDS = 30.0  # so may the checkpoint of a clean stop
DIE_SECONDS = 10.0  # PostgreSQL gives its children 5 seconds after an immediate stop


class Server(ABC):
    """One server process.

    Args:
        launcher: starts it.
        log: its output; appended to.
        state: its port and password.
        save: called after each start, when the state has the new process.
    """

    name: ClassVar[str]
    death_signal: ClassVar[Signals]  # when the program dies
    stop_signal: ClassVar[Signals]  # to end in good order
    immediate_signal: ClassVar[Signals]  # to end at once

    def __init__(self, launcher: Launcher, log: Path, state: ServerState, save: Callable[[], None]) -> None:
        self.log = log
        self._launcher = launcher
        self._state = state
        self._save = save
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1: the same after each restart, so that clients find the server again."""
        return self._state.port

    @property
    def alive(self) -> bool:
        """Whether the server process lives; a killed one is reaped here."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            EmbeddedError: `embedded_not_running`.
        """
        if self._process is None or not self.alive:
            raise EmbeddedError("embedded_not_running", f"{self.name} does not run")
        return self._process.pid

    def start_on(self, port: int) -> None:
        """Start for the first time, and settle on a port.

        Raises:
            EmbeddedError: as `start`.
        """
        self._state.port = port
        self.start()

    def start(self) -> None:
        """Start the server, on its port, and wait until it answers. Nothing happens if it runs.

        Raises:
            EmbeddedError: `embedded_start_failed`, with the server's last words.
        """
        if self.alive:
            return
        self.clear_leftovers()
        launch = Launch(command=self._command(), death_signal=self.death_signal, log=self.log, stdin=self._stdin())
        child = self._launcher.start(launch)
        self._process = child.process
        wait_for(lambda: not self.alive or self._answers(child.process.pid), START_SECONDS)
        if not self.alive or not self._answers(child.process.pid):
            self.kill()
            raise child.failed(f"{self.name} did not start")
        self._state.process = Process.find(child.process.pid)
        self._save()

    def stop(self) -> None:
        """End the server in good order, frozen or not; harder and harder if it does not obey."""
        self._end(self.stop_signal, STOP_SECONDS)
        self.clear_leftovers()

    def stop_immediate(self) -> None:
        """End the server at once, as after a power cut, but with its own hand."""
        self._end(self.immediate_signal, DIE_SECONDS)

    def kill(self) -> None:
        """SIGKILL the server process, and that alone; what it leaves behind is for the next start."""
        self._end(SIGKILL, DIE_SECONDS)

    def restart(self) -> None:
        """Stop in good order and start again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop all its processes where they are: connections stay open and nothing answers."""
        send([self.pid], SIGSTOP)  # first, so that it makes no more children
        send(self._family(), SIGSTOP)

    def thaw(self) -> None:
        """Let frozen processes go on."""
        send(self._family(), SIGCONT)

    @abstractmethod
    def clear_leftovers(self) -> None:
        """Wait for what is left of an earlier run, and remove what would keep the next one from starting."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Program and arguments."""

    @abstractmethod
    def _stdin(self) -> str:
        """What the server reads from its standard input."""

    @abstractmethod
    def _answers(self, pid: int) -> bool:
        """Whether this very process, not another on its port, accepts clients."""

    @abstractmethod
    def _family(self) -> list[int]:
        """The server's process and its children."""

    def _end(self, first: Signals, seconds: float) -> None:
        for signal, patience in ((first, seconds), (self.immediate_signal, DIE_SECONDS), (SIGKILL, DIE_SECONDS)):
            if self._process is None or not self.alive:
                return
            self._process.send_signal(signal)
            self.thaw()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
