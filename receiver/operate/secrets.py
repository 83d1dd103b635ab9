"""Which of a source's keys a captured callback was signed with: each is tried by itself."""

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback
from receiver.settings import Settings, SourceSettings
from receiver.sources import Source, build_sources

_FOR_TESTS: Final = frozenset({"signing_key", "signing_certificate"})
"""They belong to one key, and would be refused beside another."""


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a source."""

    key: str
    """Its name, or its setting, such as `secrets[0]`."""
    matches: bool
    """The callback was signed with it, and it was good at that time."""
    reason: str | None
    """Why not."""
    not_before: dt.datetime | None
    not_after: dt.datetime | None


def check_keys(settings: Settings, name: str, callback: Callback, at: float, folder: Path) -> list[KeyRow]:
    """One row for each key of a source, in the order of the settings.

    Args:
        settings: as loaded.
        name: of the source.
        callback: as captured.
        at: Unix seconds of its arrival.
        folder: what relative paths are relative to.

    Raises:
        SettingsError: there is no such source, or it verifies nothing, or its settings are wrong.
    """
    whole = build_sources(settings.model_copy(update={"sources": _only(settings, name)}), folder)[name]
    if not whole.verified:
        raise SettingsError(f"sources.{name}.verification: is none, so there are no keys to check with")
    return [_row(source, callback, at) for source in _each(settings, name, whole, folder)]


def _only(settings: Settings, name: str) -> Mapping[str, SourceSettings]:
    if name not in settings.sources:
        known = ", ".join(settings.sources) or "none"
        raise SettingsError(f"sources: no source is called {name!r}; configured: {known}")
    return {name: settings.sources[name]}


def _each(settings: Settings, name: str, whole: Source, folder: Path) -> Iterator[Source]:
    """The source with one of its keys at a time."""
    given = settings.sources[name].model_extra or {}
    kinds = type(whole.provider).settings
    others = {part: value for part, value in given.items() if not kinds[part].key and part not in _FOR_TESTS}
    for part, kind in kinds.items():
        if not kind.key or part not in given:
            continue
        value = given[part]
        singles = [{key: item} for key, item in value.items()] if kind.mapping and isinstance(value, dict) else value
        for position, single in enumerate(singles if isinstance(singles, list) else [singles]):
            alone = [single] if kind.many else single
            section = SourceSettings.model_validate({"provider": whole.provider.name, **others, part: alone})
            built = build_sources(settings.model_copy(update={"sources": {name: section}}), folder)[name]
            yield _labelled(built, part, position)


def _labelled(source: Source, part: str, position: int) -> Source:
    """With the label that the key has among the others."""
    labels = tuple(f"{part}[{position}]" if label == f"{part}[0]" else label for label in source.key_labels)
    return Source(name=source.name, provider=source.provider, verified=True, key_labels=labels, windows=source.windows)


def _row(source: Source, callback: Callback, at: float) -> KeyRow:
    reason: str | None = None
    try:
        source.verify(callback, at)
    except VerificationError as error:
        reason = error.reason
    window = source.windows.get(0)
    return KeyRow(
        key=source.key_labels[0],
        matches=reason is None,
        reason=reason,
        not_before=_time(window.not_before if window else None),
        not_after=_time(window.not_after if window else None),
    )


def _time(moment: float | None) -> dt.datetime | None:
    return None if moment is None else dt.datetime.fromtimestamp(moment, dt.UTC)
