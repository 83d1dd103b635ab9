"""The text of the header `Idempotency-Key`, and what makes two requests with one key the same."""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from receiver.errors import KeyRefused
from receiver.events import length_prefixed

HEADER: Final = "Idempotency-Key"
_LONGEST: Final = 255
"""Characters of a key."""
_STRING: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
"""RFC 8941, 3.3.3: printable ASCII in quotes; a backslash stands before a quote or a backslash, and nowhere else."""
_PLAIN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~:/=-]+")
"""What many clients send in its stead, such as a bare UUID."""
_DIGEST: Final = 16


def read_key(values: Sequence[bytes]) -> str | None:
    """The key: quoted or plain, it is the same one; None if there is none.

    Args:
        values: of all headers of that name, as they came.

    Raises:
        KeyRefused: `key_malformed`: neither an RFC 8941 string nor plain; empty, too long, or there twice.
    """
    if not values:
        return None
    if len(values) > 1:
        raise KeyRefused("key_malformed")
    value = values[0].strip(b" \t")
    quoted = _STRING.fullmatch(value)
    if quoted is None and _PLAIN.fullmatch(value) is None:
        raise KeyRefused("key_malformed")
    key = re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted else value
    if not 0 < len(key) <= _LONGEST:
        raise KeyRefused("key_malformed")
    return key.decode("ascii")


def digest(scope: str, caller: str | None, key: str) -> bytes:
    """What a key is stored under: those of other callers, and of other scopes, are other keys."""
    parts = (scope, *(() if caller is None else (caller,)), key)
    return hashlib.sha256(b"".join(_part(part) for part in parts)).digest()[:_DIGEST]


def fingerprint(method: str, path: str, query: bytes, body: bytes) -> bytes:
    """What stays the same when a client sends a request again."""
    hashed = hashlib.sha256(_part(method) + _part(path) + length_prefixed(query))
    hashed.update(body)  # last, and so in need of no length
    return hashed.digest()


def _part(text: str) -> bytes:
    return length_prefixed(text.encode("utf-8", "surrogatepass"))
