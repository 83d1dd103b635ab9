"""SIGHUP, the signal that asks a program to read its settings again, or tells it that its terminal is gone.

Without a handler it ends a program, so it waits until there is one.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def hold() -> None:
    """Let it wait from now on, here and in programs that are started from here; `release` takes what has come."""
    with suppress(AttributeError):  # no such thing here
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def release() -> None:
    """Take it from now on."""
    with suppress(AttributeError):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@contextmanager
def held() -> Iterator[None]:
    """Let it wait for the length of the block."""
    hold()
    try:
        yield
    finally:
        release()


class Terminal:
    """Where the program was started from."""

    def __init__(self) -> None:
        self._was_there = _is_there()

    @property
    def gone(self) -> bool:
        """It was there and is no more: that is what SIGHUP says then."""
        return self._was_there and not _is_there()


def _is_there() -> bool:
    try:
        return os.isatty(sys.stdin.fileno())
    except (AttributeError, OSError, ValueError):  # closed, or not the system's
        return False
