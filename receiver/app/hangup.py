"""SIGHUP, which asks a program to read its settings again, or tells it that its terminal is gone.

Without a handler it ends a program, so it waits until there is one. A program that is started while it waits lets it
wait too.
"""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def hold() -> None:
    """Let it wait from now on."""
    with suppress(AttributeError):  # no such thing here
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def release() -> None:
    """Take what has come, and what comes from now on."""
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


def terminal_gone() -> bool:
    """Whether a terminal that the program was started from is there no more: then that is what SIGHUP says."""
    return any(_hung_up(stream) for stream in range(3))


def _hung_up(stream: int) -> bool:
    try:
        os.tcgetpgrp(stream)
    except OSError as error:
        return error.errno == errno.EIO  # a stream that never was a terminal's says ENOTTY
    return False
