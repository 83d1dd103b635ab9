"""Reads `--since` and `--until`: an age such as `12h`, or a time."""

import datetime as dt
import re
from typing import Final

import typer

_AGE: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str | None, now: dt.datetime, option: str = "--since") -> dt.datetime | None:
    """The moment that `text` means; without an offset it is in UTC.

    Args:
        text: as given on the command line; None: not given.
        now: aware.
        option: what it was given to.

    Raises:
        typer.BadParameter: it is neither an age nor a time.
    """
    if text is None:
        return None
    try:
        if age := _AGE.fullmatch(text):
            return now - dt.timedelta(**{_UNITS[age[2]]: int(age[1])})
        parsed = dt.datetime.fromisoformat(text)
        return parsed.astimezone(dt.UTC) if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither an age such as 90s, 30m, 12h or 7d, nor a time such as 2025-01-31T12:00",
            param_hint=option,
        ) from None
