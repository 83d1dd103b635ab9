"""Times as providers write them, bounded to what Postgres and the key can hold."""

import datetime as dt
from typing import Final

LATEST: Final = 2**32 - 1
"""Unix seconds, in the year 2106: what is later is a mistake, such as milliseconds in the place of seconds."""


def from_unix(value: object) -> dt.datetime | None:
    """An integer of Unix seconds as a time, None if it is anything else."""
    if type(value) is not int or not 0 < value <= LATEST:
        return None
    return dt.datetime.fromtimestamp(value, dt.UTC)


_MILLISECONDS: Final = 10**11
"""From here on a Unix time counts milliseconds: as seconds it would be in the year 5138."""


def from_any(value: object) -> dt.datetime | None:
    """ISO 8601 with an offset, or Unix time in seconds or milliseconds; None if it is anything else."""
    if type(value) is int:
        return from_unix(value // 1000 if value >= _MILLISECONDS else value)
    return from_iso(value)


def to_unix(time: dt.datetime | None) -> int:
    """Whole Unix seconds, 0 for no time."""
    return int(time.timestamp()) if time is not None else 0


def from_iso(value: object, zone: dt.timezone | None = None) -> dt.datetime | None:
    """An ISO 8601 string as a time, None if it is anything else.

    Args:
        value: what stands in the message.
        zone: what a time without offset is meant in; None: such a time is not accepted.
    """
    if not isinstance(value, str):
        return None
    try:
        time = dt.datetime.fromisoformat(value)
    except ValueError:
        return None
    if time.tzinfo is None:
        if zone is None:
            return None
        time = time.replace(tzinfo=zone)
    return time if 0 < time.timestamp() <= LATEST else None
