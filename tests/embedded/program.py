"""A program that runs embedded servers until its standard input ends; tests start it, look at it and kill it.

    program.py [--fork | --die-at=PATTERN] FOLDER

It prints one line of JSON when the servers answer, or when they cannot be had. It may leave a forked child behind, or
kill itself as soon as a path of that pattern is in the folder.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from receiver.embedded import EmbeddedError, EmbeddedServers


def die_at(folder: Path, pattern: str) -> None:
    """Kill this program when the pattern matches."""
    while not any(folder.glob(pattern)):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


def fork() -> int:
    """Leave a child that waits for its end."""
    child = os.fork()
    if child == 0:
        signal.pause()
    return child


def tell(words: dict[str, str]) -> None:
    """One line for the test."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the servers of the folder that is named last."""
    option, folder = sys.argv[1], Path(sys.argv[-1])
    if option.startswith("--die-at="):
        threading.Thread(target=die_at, args=(folder, option.removeprefix("--die-at=")), daemon=True).start()
    servers = EmbeddedServers(folder)
    try:
        servers.start()
    except EmbeddedError as error:
        tell({"reason": error.reason, "message": str(error)})
        return
    told = {
        "postgres": str(servers.postgres.pid),
        "valkey": str(servers.valkey.pid),
        "database_url": servers.database_url,
        "redis_url": servers.redis_url,
    }
    if option == "--fork":
        told["child"] = str(fork())
    tell(told)
    sys.stdin.read()
    servers.stop()


if __name__ == "__main__":
    main()
