"""The one error of the embedded servers."""

from typing import Literal

from receiver.errors import ReceiverError

Reason = Literal[
    "embedded_missing",  # the extra is not installed
    "embedded_unsupported",  # not Linux
    "embedded_locked",  # another program uses the folder
    "embedded_folder",  # the folder, or where its data would go, cannot be used
    "embedded_no_account",  # root, and nobody else to run as
    "embedded_start_failed",  # a server would not start; its own words are in the message
    "embedded_not_running",  # asked about a server that does not run
]


class EmbeddedError(ReceiverError):
    """An embedded server cannot be had. The message says what to do.

    Args:
        reason: stable code of what went wrong.
        message: one or more lines for a person; never holds a password.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        """Keep the code as the error's reason."""
        super().__init__(message)
        self.reason = reason
