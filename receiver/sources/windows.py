"""When a key is good: the optional `not_before` and `not_after` of one that is being replaced."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from receiver.errors import SettingsError

_LONGEST_NAME: Final = 64
_MEMBERS: Final = frozenset({"value", "name", "not_before", "not_after"})


@dataclass(frozen=True, kw_only=True)
class Window:
    """What the settings say of one key beside its value."""

    name: str | None = None
    """What operators call it; None: by its setting."""
    not_before: float | None = None
    """Unix seconds; from then on it verifies."""
    not_after: float | None = None
    """Unix seconds; from then on it does not."""

    @property
    def limited(self) -> bool:
        """Whether there is a time at which the key is not good."""
        return self.not_before is not None or self.not_after is not None

    def closed(self, now: float) -> str | None:
        """Why the key is not good at `now` (Unix seconds): `key_not_yet_valid`, `key_expired`; None: it is good."""
        if self.not_before is not None and now < self.not_before:
            return "key_not_yet_valid"
        if self.not_after is not None and now >= self.not_after:
            return "key_expired"
        return None


def is_entry(value: object) -> bool:
    """Whether a setting's value is a table that holds a key and says more of it."""
    return isinstance(value, Mapping) and "value" in value


def read_window(entry: Mapping[str, object], setting: str) -> Window:
    """What a table such as `{value = "env:X", not_after = 2026-01-01T00:00:00Z}` says beside the value.

    Args:
        entry: the table.
        setting: its full name, for errors.

    Raises:
        SettingsError: a member is unknown, a time has no zone, or the window is empty.
    """
    unknown = sorted(entry.keys() - _MEMBERS)
    if unknown:
        raise SettingsError(f"{setting}.{unknown[0]}: unknown; a key has value, name, not_before, not_after")
    window = Window(
        name=_name(entry.get("name"), f"{setting}.name"),
        not_before=_moment(entry.get("not_before"), f"{setting}.not_before"),
        not_after=_moment(entry.get("not_after"), f"{setting}.not_after"),
    )
    if window.not_before is not None and window.not_after is not None and window.not_before >= window.not_after:
        raise SettingsError(f"{setting}.not_after: is not after not_before, so the key would never be good")
    return window


def _name(value: object, setting: str) -> str | None:
    """It becomes a label of metrics and is stored with events, so it must be something that both take."""
    if value is None:
        return None
    if not (isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= _LONGEST_NAME):
        raise SettingsError(f"{setting}: must be a word of at most {_LONGEST_NAME} characters, all of them printable")
    return value


def _moment(value: object, setting: str) -> float | None:
    """A time of TOML, or one in ISO 8601 as environment variables have it."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            raise SettingsError(f"{setting}: {value!r} is no time such as 2026-01-01T00:00:00Z") from None
    if not isinstance(value, dt.datetime):
        raise SettingsError(f"{setting}: must be a time such as 2026-01-01T00:00:00Z")
    if value.utcoffset() is None:
        raise SettingsError(f"{setting}: {value.isoformat()} has no zone, so it says no moment; write …Z")
    return value.timestamp()
