"""Keys that are no longer good, or will soon not be."""

import datetime as dt
from typing import Final

from receiver.operate.check import Check
from receiver.sources import Source

_SOON: Final = 14 * 86_400
"""Seconds: long enough to replace a key on a working day."""


def examine_keys(source: Source, now: float) -> Check | None:
    """What is to be said of the keys of `source` at `now` (Unix seconds); None: all is well.

    A source none of whose keys is good is a warning, not an error of the start: the other sources go on, and this one
    answers 401, which its provider repeats until a key is there.
    """
    ends = {
        source.key_labels[index]: window.not_after
        for index, window in source.windows.items()
        if window.not_after is not None
    }
    last = _last(source)
    name = f"source {source.name}"
    if last is not None and last <= now:
        advice = "every callback is refused: add the key that the provider signs with now"
        return Check(name=name, status="warn", found=f"its last key ended at {_at(last)}", advice=advice)
    over = sorted(label for label, end in ends.items() if end <= now)
    if over:
        advice = f"take {'it' if len(over) == 1 else 'them'} out of the settings"
        return Check(name=name, status="warn", found=f"{', '.join(over)} has ended", advice=advice)
    if last is not None and last <= now + _SOON:
        advice = "add the key that follows, or callbacks will be refused then"
        return Check(name=name, status="warn", found=f"its last key ends at {_at(last)}", advice=advice)
    return None


def _last(source: Source) -> float | None:
    """When no key will be good any more; None: never."""
    if not source.verified or len(source.windows) < len(source.key_labels):
        return None
    ends = [window.not_after for window in source.windows.values()]
    return None if not ends or None in ends else max(end for end in ends if end is not None)


def _at(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="minutes")
