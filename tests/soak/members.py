"""The programs of a soak: real server and worker processes that are mistreated, and started again when they end."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import receiver
from tests.ingress.program import runner

STOP_SECONDS = 30.0
"""What a program may take to end after SIGTERM."""


class Member:
    """One `receiver serve` or `receiver work`, kept running.

    Args:
        name: for reports and the log file.
        command: `serve` or `work`.
        folder: with settings and handlers.
        variables: what tells this one apart from the others.
    """

    def __init__(self, name: str, command: str, folder: Path, variables: Mapping[str, str]) -> None:
        self.name = name
        self.complaints: list[str] = []
        """Ends that nobody had asked for."""
        self.log = folder / f"{name.replace(' ', '-')}.log"
        self._command = command
        self._folder = folder
        self._variables = variables
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._told = False
        self._failpoint = ""
        self._clock = 0
        self._was_ready = False

    async def keep(self) -> None:
        """Start it, and again whenever it ends, until cancelled; then it ends as well."""
        try:
            while True:
                process = await self._start()
                status = await process.wait()
                self._judge(status)
                await asyncio.sleep(0.1)
        finally:
            await self.end()

    @property
    def runs(self) -> bool:
        """It has said that it is ready, and has not ended since."""
        return self._ready.is_set()

    def kill(self) -> None:
        """SIGKILL."""
        self._send(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, as a deployment would; it must end in time and in good order."""
        await self._ready.wait()
        process = self._process
        self._told = True
        self._send(signal.SIGTERM)
        if process is not None and not await _ended(process, STOP_SECONDS):
            self.complaints.append(f"{self.name} did not end within {STOP_SECONDS:g} s of SIGTERM")
            self.kill()

    async def freeze(self, seconds: float) -> None:
        """SIGSTOP for a while."""
        self._send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._send(signal.SIGCONT)

    def fail_at(self, point: str) -> None:
        """SIGKILL; the next one dies at a failpoint, if it comes to it."""
        self._failpoint = point
        self.kill()

    def mistake_the_time(self, seconds: int) -> None:
        """SIGKILL; the next one's clock is wrong by that much."""
        self._clock = seconds
        self.kill()

    async def end(self) -> None:
        """End it for good."""
        process, self._told = self._process, True
        if process is None or process.returncode is not None:
            return
        self._send(signal.SIGCONT)
        self._send(signal.SIGTERM)
        if not await _ended(process, STOP_SECONDS):
            self._send(signal.SIGKILL)
            await process.wait()

    async def until_ready(self) -> None:
        """Returns while it runs."""
        await self._ready.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        self._told = self._was_ready = False
        armed, self._failpoint = self._failpoint, ""
        clock, self._clock = self._clock, 0
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
        environment |= {**self._variables, "PYTHONPATH": str(Path(receiver.__file__).parents[1])}
        if armed:
            environment["RECEIVER_FAILPOINT"] = armed
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, *runner(clock), self._command, "shop:receiver", "--json"),
                cwd=self._folder,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the soak, which ends them in order
            )
        await self._hear(self._process)
        return self._process

    async def _hear(self, process: asyncio.subprocess.Process) -> None:
        """Wait until it says where it listens, or ends."""
        assert process.stdout is not None
        self._ready.clear()
        said = b""
        while part := await process.stdout.readline():
            said += part
            with suppress(json.JSONDecodeError):
                json.loads(said)
                self._was_ready = True
                self._ready.set()
                return

    def _judge(self, status: int) -> None:
        """Killed it may be, also by a handler; told to end it ends with 0; anything else is a fault."""
        killed = status == -signal.SIGKILL
        # A handler of the soak calls os._exit(0) now and then.
        done = status == 0 and (self._told or self._command == "work")
        early = status == -signal.SIGTERM and not self._was_ready
        if not (killed or done or early):
            self.complaints.append(f"{self.name} ended with {status}; see {self.log}")
        self._ready.clear()

    def _send(self, number: signal.Signals) -> None:
        if number in {signal.SIGKILL, signal.SIGTERM}:
            self._ready.clear()
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


async def _ended(process: asyncio.subprocess.Process, seconds: float) -> bool:
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        return False
    return True
