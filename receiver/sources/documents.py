"""Reading what a verified callback says: strict JSON, ids and types that Postgres can hold, reasons where it is odd."""

import hashlib
from typing import Final

import jiter

from receiver.events import Fact, length_prefixed

LONGEST_TEXT: Final = 512
"""Bytes of an id or a type in UTF-8. The longest that a provider documents is 255 characters (Stripe's ids)."""


class UnreadableError(ValueError):
    """A genuine callback that cannot be read; its reason is what quarantine shows."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def odd(reason: str, body: bytes | None = None) -> Fact:
    """The fact of a callback, or of the item of a batch that `body` is, in which nothing could be read."""
    return Fact(
        external_id=None,
        type=None,
        entity_id=None,
        occurred_at=None,
        key_time=0,
        fingerprint=None,
        body=body,
        odd=reason,
    )


def json_object(body: bytes) -> dict[str, object]:
    """The JSON object in `body`, which `parse_exactly` will read as well.

    Raises:
        UnreadableError: `json_nul`, which Postgres cannot hold in text; else as `strict_object`.
    """
    document = strict_object(body)
    # A NUL can only be written with this escape; `\\u0000`, which is text, has it too, so then look at the values.
    # (One byte is looked for first, since that takes a tenth of the time and most bodies escape nothing.)
    if b"\\" in body and b"\\u0000" in body and holds_nul(document):
        raise UnreadableError("json_nul")
    return document


def strict_object(body: bytes) -> dict[str, object]:
    """The JSON object in `body`; text in it may hold a NUL.

    Raises:
        UnreadableError: `body_empty`; `json_duplicate_key`, for two readers would see two values; `json_not_object`;
            `json_invalid` for all else that is not strict JSON: NaN, a byte-order mark, UTF-16, lone surrogates,
            more than 200 levels, numbers over 4,300 digits.
    """
    if not body:
        raise UnreadableError("body_empty")
    try:
        document = jiter.from_json(
            body, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys", float_mode="decimal"
        )
    except ValueError as error:
        repeated = str(error).startswith("Detected duplicate key")
        raise UnreadableError("json_duplicate_key" if repeated else "json_invalid") from None
    if type(document) is not dict:
        raise UnreadableError("json_not_object")
    return document


def holds_nul(document: object) -> bool:
    """Whether a NUL stands anywhere in the names and texts of parsed JSON."""
    left = [document]
    while left:
        part = left.pop()
        if isinstance(part, str):
            if "\0" in part:
                return True
        elif isinstance(part, dict):
            left.extend(part.keys())
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)
    return False


def storable(value: object) -> bool:
    """Whether `value` is text that may become an id, a type or an entity."""
    if type(value) is not str or not value or "\0" in value:
        return False
    # Four bytes are the most that one character takes.
    return len(value) * 4 <= LONGEST_TEXT or len(value.encode()) <= LONGEST_TEXT


def identifier(value: object, *, given: bool = True) -> tuple[str | None, str | None]:
    """The event's id, or why there is none: `id_missing`, `id_invalid`."""
    if not given or value == "":
        return None, "id_missing"
    return (value, None) if isinstance(value, str) and storable(value) else (None, "id_invalid")


def event_type(value: object) -> tuple[str | None, str | None]:
    """The event's type and None, or None and None where the provider sent none, or `type_invalid`."""
    if value is None or value == "":
        return None, None
    return (value, None) if isinstance(value, str) and storable(value) else (None, "type_invalid")


def entity(*candidates: object) -> str | None:
    """The first candidate that is a usable id."""
    for value in candidates:
        if isinstance(value, str) and storable(value):
            return value
    return None


def member(parent: object, *path: str) -> object:
    """What stands at `path` below `parent`, or None where the way ends earlier."""
    for name in path:
        if not isinstance(parent, dict):
            return None
        parent = parent.get(name)
    return parent


def constant(value: object) -> bytes:
    """A part for `derived_id` out of parsed JSON: the same in whatever order its members were written."""
    return repr(_in_order(value)).encode("utf-8", "replace")


def derived_id(*parts: bytes) -> str:
    """An id for what has none of its own: `sha256:` and 32 hexadecimal digits over the parts, each behind its length.

    The parts must be signed, and the same on every resend.
    """
    return "sha256:" + fingerprint(*parts).hex()


def fingerprint(*parts: bytes) -> bytes:
    """16 bytes of a SHA-256 over the parts, each behind its length."""
    return hashlib.sha256(b"".join([length_prefixed(part) for part in parts])).digest()[:16]


def _in_order(value: object) -> object:
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value
