"""Places where a test may kill the process: the crash points of the design, named.

`RECEIVER_FAILPOINT=name` makes the process die there as if its power were cut; without it each is a call of nothing.
"""

import os
import signal
from collections.abc import Callable

Failpoint = Callable[[str], None]


def arm(armed: str | None) -> Failpoint:
    """The function that dies at the place called `armed`.

    Args:
        armed: name of the place; None makes a function that does nothing.
    """
    if not armed:
        return _pass

    def die(name: str) -> None:
        if name == armed:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def _pass(_name: str) -> None:
    """Nothing: no test asked for this process to die."""


failpoint: Failpoint = arm(os.environ.get("RECEIVER_FAILPOINT"))
