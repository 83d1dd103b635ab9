"""What is emitted, checked, and made into the arrival that a callback of the source `internal` would be."""

import datetime as dt
import re
from typing import Final

import uuid_utils.compat

from receiver.errors import EmitError, EmitReason
from receiver.events import INTERNAL, parse_exactly
from receiver.followups.payload import to_json
from receiver.handlers import Registry, in_lanes
from receiver.inbox.key import dedup_key
from receiver.sources.documents import LONGEST_TEXT, fingerprint
from receiver.storage.arrivals import Arrival

# No colon, which stands between type and key in the external id; nothing that a pattern of `on` would read otherwise.
_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


def follow_up(
    registry: Registry,
    kind: str,
    payload: object,
    *,
    key: str,
    entity_id: str | None,
    occurred_at: dt.datetime | None,
) -> Arrival:
    """The row for an event that is emitted, with what it owes to the handlers that want it.

    Args:
        registry: all handlers.
        kind: the event's type.
        payload: see `to_json`.
        key: what is unique about it, among the events of this type.
        entity_id: what it is about.
        occurred_at: the event's own time, aware.

    Raises:
        EmitError: one of them cannot be stored.
    """
    external_id = _external_id(kind, key)
    if entity_id is not None:
        _check_text(entity_id, "entity_id", "emit_entity")
    if occurred_at is not None and occurred_at.utcoffset() is None:
        raise EmitError("emit_time_naive", "occurred_at: a time without a zone says no moment")
    body = to_json(payload)
    handlers = registry.wanting(INTERNAL, INTERNAL, kind)
    arrival = Arrival(
        key=dedup_key(INTERNAL, external_id, 0),
        event_id=uuid_utils.compat.uuid7(),
        fingerprint=fingerprint(body, (entity_id or "").encode()),
        source=INTERNAL,
        provider=INTERNAL,
        external_id=external_id,
        type=kind,
        entity_id=entity_id,
        livemode=None,
        occurred_at=occurred_at,
        headers={},
        body=body,
        trust="internal",  # nothing was signed, and nobody from outside wrote it
        owed=tuple((handler.name, None) for handler in handlers),
    )
    return in_lanes(arrival, handlers, parse_exactly)


def _external_id(kind: object, key: object) -> str:
    """Type and key in one: two types may use the same keys, their orders' numbers for example."""
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise EmitError(
            "emit_type",
            "kind: must be a name such as order.paid: a letter or digit first, then letters, digits, or any of"
            " . _ / - (100 characters at most)",
        )
    _check_text(key, "key", "emit_key")
    return f"{kind}:{key}"


def _check_text(value: object, name: str, reason: EmitReason) -> None:
    """Refuse what Postgres cannot hold as text, or what is too long for an id."""
    if not isinstance(value, str):
        raise EmitError(reason, f"{name}: must be a str, not {type(value).__name__}")
    if not value:
        raise EmitError(reason, f"{name}: is empty")
    if "\0" in value:
        raise EmitError(reason, f"{name}: holds a NUL, which PostgreSQL cannot")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise EmitError(reason, f"{name}: holds a lone surrogate, which UTF-8 cannot") from None
    if size > LONGEST_TEXT:
        raise EmitError(reason, f"{name}: {size} bytes, of {LONGEST_TEXT} at most")
