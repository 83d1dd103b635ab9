"""Which of a source's keys a captured callback was signed with: each is tried by itself."""

import datetime as dt
from pathlib import Path

import msgspec

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback
from receiver.operate.diagnosis import right_at_its_own_time
from receiver.settings import Settings
from receiver.sources import Provider, Source, build_sources
from receiver.sources.live import with_keys


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a source."""

    key: str
    """Its name, or its setting."""
    setting: str
    """Such as `secrets[0]`."""
    matches: bool
    """The callback was signed with it."""
    accepted: bool
    """It matches, is good, and the time of the signature is near enough."""
    reason: str | None
    """Why it is not accepted."""
    not_before: dt.datetime | None
    not_after: dt.datetime | None


def source_called(settings: Settings, name: str, folder: Path) -> Source:
    """One source alone, so that what is wrong with another does not hide it.

    Args:
        settings: as loaded.
        name: of the source.
        folder: what relative paths are relative to.

    Raises:
        SettingsError: there is no such source, or it verifies nothing, or its settings are wrong.
    """
    if name not in settings.sources:
        known = ", ".join(settings.sources) or "none"
        raise SettingsError(f"sources: no source is called {name!r}; configured: {known}")
    found = build_sources(settings.model_copy(update={"sources": {name: settings.sources[name]}}), folder)[name]
    if not found.verified:
        raise SettingsError(f"sources.{name}.verification: is none, so there are no keys to check with")
    return found


def check_keys(source: Source, callback: Callback, at: float) -> list[KeyRow]:
    """One row for each key, in the order of the settings.

    Args:
        source: with all of its keys.
        callback: as captured.
        at: Unix seconds of its arrival.
    """
    return [_row(source, setting, index, callback, at) for setting, index in key_places(source).items()]


def key_places(source: Source) -> dict[str, int]:
    """The settings of the keys, each with the place at which verification counts the first key in it."""
    places: dict[str, int] = {}
    for index, setting in enumerate(source.key_settings):
        places.setdefault(setting, index)  # one file may hold several certificates
    return places


def moment_of(seconds: float | None) -> dt.datetime | None:
    """Unix seconds as a time; None stays None."""
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)


def _row(source: Source, setting: str, index: int, callback: Callback, at: float) -> KeyRow:
    matches, reason = _tried(source, setting, callback, at)
    window = source.windows.get(index)
    if reason is None and window is not None:
        reason = window.closed(at)
    return KeyRow(
        key=source.key_labels[index],
        setting=setting,
        matches=matches,
        accepted=reason is None,
        reason=reason,
        not_before=moment_of(window.not_before if window else None),
        not_after=moment_of(window.not_after if window else None),
    )


def _tried(source: Source, setting: str, callback: Callback, at: float) -> tuple[bool, str | None]:
    """Whether a key signed it, and what is wrong with it all the same."""
    try:
        alone = with_keys(type(source.provider), source.options, {setting})
    except SettingsError:  # it needs the others, as an intermediate certificate its root
        return _among_all(source, setting, callback, at)
    try:
        alone.authenticate(callback, at)
    except VerificationError as error:
        return right_at_its_own_time(alone, callback, error.reason), error.reason
    return True, None


def _among_all(source: Source, setting: str, callback: Callback, at: float) -> tuple[bool, str | None]:
    every: Provider = source.provider
    try:
        matched = every.authenticate(callback, at)
    except VerificationError as error:
        return False, error.reason
    signed = source.key_settings[matched : matched + 1] == (setting,)
    return signed, None if signed else "signature_mismatch"
