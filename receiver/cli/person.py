"""Who sits in front of the command line, as the audit log calls them."""

import getpass
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from receiver.storage.audit import Said


def said(by: str | None, why: str | None) -> "Said":
    """Who does it, and why.

    Args:
        by: from the command line; None: the user and host that the system knows.
        why: from the command line.
    """
    from receiver.storage.audit import Said

    return Said(who=by or f"{_user()}@{socket.gethostname()}", why=why)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return str(os.getuid())
