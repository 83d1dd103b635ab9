"""Exit codes, which scripts may rely on."""

from enum import IntEnum
from typing import Final

from receiver.errors import ReceiverError


class Exit(IntEnum):
    """What a program that ended says about why."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SETTINGS = 3
    UNREACHABLE = 4
    INTERNAL = 70
    INTERRUPTED = 130


MEANINGS: Final = {
    Exit.OK: "it worked",
    Exit.FAILED: "a check or verdict failed, or nothing matched",
    Exit.USAGE: "the command line, or a file named there, is wrong",
    Exit.SETTINGS: "a setting, a target or the schema is wrong",
    Exit.UNREACHABLE: "PostgreSQL, Redis or the embedded servers are not there",
    Exit.INTERNAL: "a fault of this program (RECEIVER_DEBUG=1 shows where)",
    Exit.INTERRUPTED: "interrupted",
}

_BY_REASON: Final = {
    "settings": Exit.SETTINGS,
    "handler": Exit.SETTINGS,
    "request_unreadable": Exit.USAGE,
    "payload": Exit.USAGE,
    "store_unavailable": Exit.UNREACHABLE,
    "redis_unavailable": Exit.UNREACHABLE,
}
_EMBEDDED: Final = "embedded_"


def code_of(error: ReceiverError) -> Exit:
    """The exit code for an error raised on purpose."""
    if error.reason.startswith(_EMBEDDED):
        return Exit.UNREACHABLE
    return _BY_REASON.get(error.reason, Exit.FAILED)


def documented() -> str:
    """The codes for the end of `receiver --help`."""
    unwrapped = "\b"  # the command line's help keeps the lines of such a paragraph
    return "\n".join([unwrapped, "Exit codes:", *(f"  {code.value:<4} {said}" for code, said in MEANINGS.items())])
