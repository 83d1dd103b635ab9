"""One line of the doctor's report."""

from typing import Literal

import msgspec

Status = Literal["ok", "warn", "fail"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and what was found."""

    name: str
    status: Status
    found: str
    advice: str | None = None
    """What to do; None where nothing needs doing."""
