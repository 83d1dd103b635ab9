"""How the scripts speak: lines on stderr, and one kind of failure."""

import sys


class Failed(Exception):
    """It cannot be done; the message says what to do."""


def say(line: str) -> None:
    """One line for the person at the terminal."""
    print(f"environment: {line}", file=sys.stderr, flush=True)
