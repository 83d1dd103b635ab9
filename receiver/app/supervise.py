"""Several server processes on one port, each with a listening socket of its own (SO_REUSEPORT).

One shared socket, as `uvicorn --workers` has it, was measured to put every connection on one process at times.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Final

import structlog

from receiver.app.hangup import held, release, terminal_gone
from receiver.app.listeners import bind
from receiver.errors import SettingsError
from receiver.settings import Settings

log = structlog.get_logger(__name__)

_CHECK_SECONDS: Final = 0.2
_RESTART_SECONDS: Final = 1.0


def supervise(command: Sequence[str], settings: Settings) -> int:
    """Run `settings.processes` members and restart those that die, until SIGTERM or SIGINT.

    Args:
        command: arguments of `python -m receiver` for one member; `--member N` is added.
        settings: number of processes and the port, which must be free.

    Raises:
        SettingsError: the port is taken, or none is named.

    Returns:
        0 when all members drained, else 1.
    """
    if settings.port == 0:
        raise SettingsError("port: several processes share one port, so it must be named, not 0")
    # The members share the port on purpose; a stranger on it must be noticed before they do.
    bind(settings.host, settings.port, setting="port").close()
    stopping = False
    members: list[subprocess.Popen[bytes]] = []

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    def hang_up(number: int, frame: FrameType | None) -> None:
        if terminal_gone():
            stop(number, frame)
        else:
            _reload(members)

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, hang_up)
        release()
    members += [_start(command, number) for number in range(settings.processes)]
    while not stopping:
        time.sleep(_CHECK_SECONDS)
        for number, member in enumerate(members):
            if member.poll() is not None and not stopping:
                log.error("member_died", member=number, status=member.returncode)
                time.sleep(_RESTART_SECONDS)
                members[number] = _start(command, number)
    for member in members:
        member.terminate()
    return 0 if {member.wait() for member in members} == {0} else 1


def _reload(members: Sequence[subprocess.Popen[bytes]]) -> None:
    """Each reads its settings again."""
    for member in members:
        member.send_signal(signal.SIGHUP)


def _start(command: Sequence[str], number: int) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-m", "receiver", *command, "--member", str(number)]
    with held():  # the member lets SIGHUP wait too, until it is ready for it
        return subprocess.Popen(arguments)  # noqa: S603  the arguments are our own
