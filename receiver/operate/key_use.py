"""Is the old key still used? Each key of the sources, with its window and what it has verified of late."""

import datetime as dt
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from receiver.operate.secrets import key_places, moment_of
from receiver.sources import Source
from receiver.storage.key_use import KeyUse, KeyUses


class KeyUseRow(msgspec.Struct, frozen=True, kw_only=True):
    """One key of one source."""

    source: str
    key: str
    """Its name, or its setting."""
    setting: str | None
    """Such as `secrets[0]`; None: it stands in the settings no more, but has verified something."""
    last_used: dt.datetime | None
    """When the newest event that it verified was stored; None: none since `since`."""
    last_day: int
    """Events that it verified in the last 24 hours, as far as `since` goes."""
    since: dt.datetime
    """Nothing stored before it was looked at."""
    not_before: dt.datetime | None
    not_after: dt.datetime | None


def key_use_rows(sources: Mapping[str, Source], uses: KeyUses) -> list[KeyUseRow]:
    """Each key that is configured, and behind those of its source what was used under other names.

    Args:
        sources: by name; of others nothing is told. Where nothing is verified there are no keys.
        uses: what the database knows.
    """
    return [row for source in sources.values() if source.verified for row in _rows_of(source, uses)]


def named_by_place(rows: Iterable[KeyUseRow]) -> bool:
    """Whether keys of one list, which may change places, are told apart by their place alone."""
    unnamed = [row for row in rows if row.setting is not None and row.key == row.setting and row.key.endswith("]")]
    lists = {(row.source, row.key.rpartition("[")[0]) for row in unnamed}
    return len(lists) < len(unnamed)


def _rows_of(source: Source, uses: KeyUses) -> list[KeyUseRow]:
    used = {use.key: use for use in uses.keys if use.source == source.name}
    configured = {source.key_labels[index]: (setting, index) for setting, index in key_places(source).items()}
    rows = [
        _row(source, key, used.get(key), uses.since) for key in (*configured, *sorted(used.keys() - configured.keys()))
    ]
    return [_placed(row, source, *configured[row.key]) if row.key in configured else row for row in rows]


def _row(source: Source, key: str, use: KeyUse | None, since: dt.datetime) -> KeyUseRow:
    return KeyUseRow(
        source=source.name,
        key=key,
        setting=None,
        last_used=None if use is None else use.last_used,
        last_day=0 if use is None else use.last_day,
        since=since,
        not_before=None,
        not_after=None,
    )


def _placed(row: KeyUseRow, source: Source, setting: str, index: int) -> KeyUseRow:
    window = source.windows.get(index)
    return replace(
        row,
        setting=setting,
        not_before=moment_of(window.not_before if window else None),
        not_after=moment_of(window.not_after if window else None),
    )
