"""`receiver` and `python -m receiver`."""

import os
import sys
import threading
import time
from typing import Final

_LAST_SECONDS: Final = 2.0
"""For threads that handlers have left behind."""


def main() -> None:
    """Run the command line and exit with its code."""
    from receiver.cli.main import run

    code = run(sys.argv[1:])
    if not _threads_end():
        # The interpreter would wait for them, and one that is blocked may be so for ever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _threads_end() -> bool:
    """Whether all threads end that the interpreter waits for, soon enough."""
    deadline = time.monotonic() + _LAST_SECONDS
    waited_for = [
        thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.current_thread()
    ]
    for thread in waited_for:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in waited_for)


if __name__ == "__main__":
    main()
