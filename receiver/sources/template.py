"""Sample callbacks: bodies with places for the ids and times that the caller chooses."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SHANGHAI = dt.timezone(dt.timedelta(hours=8))
"""China has kept this offset without summer time since 1991, so no time zone database is needed."""


HEADERS: Final = "@headers"
"""The member of a payload that is sent as headers, for what a provider says nowhere else."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One kind of callback."""

    type: str
    """The event type that the provider gives it."""
    payload: Mapping[str, object]
    """The body, with `{id}`, `{entity}`, `{created}` and the other names of `_values` in its strings."""


def filled(sample: Sample, *, external_id: str, entity_id: str, created: int) -> dict[str, object]:
    """A copy of the payload with its places filled."""
    values: Mapping[str, object] = {"{id}": external_id, "{entity}": entity_id, **_times(created)}
    return {name: _fill(part, values) for name, part in sample.payload.items()}


def headers_in(payload: Mapping[str, object]) -> dict[str, str]:
    """The headers that a payload asks for, by name."""
    found = payload.get(HEADERS)
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def unique_id(form: str, unique: str, created: int) -> str:
    """`form` with its places filled: `{unique}`, and the times of `created`."""
    return str(_fill(form, {"{unique}": unique, **_times(created)}))


def _times(created: int) -> dict[str, object]:
    utc = dt.datetime.fromtimestamp(created, dt.UTC)
    there = utc.astimezone(SHANGHAI)
    return {
        "{created}": created,
        "{created_ms}": created * 1000,
        "{utc}": utc.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "{china}": there.isoformat(),
        "{china_plain}": there.strftime("%Y-%m-%d %H:%M:%S"),
        "{china_day}": there.strftime("%Y%m%d"),
        "{china_clock}": there.strftime("%H%M%S"),
    }


def _fill(part: object, values: Mapping[str, object]) -> object:
    if isinstance(part, str):
        # A place that is the whole string keeps its type: a time becomes a number, not a string of digits.
        return values[part] if part in values else _replaced(part, values)
    if isinstance(part, Mapping):
        return {name: _fill(member, values) for name, member in part.items()}
    if isinstance(part, list | tuple):
        return [_fill(member, values) for member in part]
    return part


def _replaced(text: str, values: Mapping[str, object]) -> str:
    for place, value in values.items():
        text = text.replace(place, str(value))
    return text
