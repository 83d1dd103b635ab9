"""Forms (`application/x-www-form-urlencoded`), decoded exactly once and kept as bytes: bytes are what is signed."""

import re
from binascii import a2b_qp
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from receiver.sources.documents import UnreadableError

_MOST: Final = 500
"""Parameters; the longest message known has about fifty."""
_WRITTEN: Final = bytes(range(0x21, 0x7F))
"""The bytes that a form is written with; a browser or server escapes all others."""

_HALF_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_CHARSETS: Final = {"utf-8": "utf-8", "utf8": "utf-8", "gbk": "gb18030", "gb2312": "gb18030", "gb18030": "gb18030"}
"""Names that Alipay and UnionPay use; gb18030 reads all that is written in the two older ones."""


def parsed(raw: bytes) -> dict[bytes, bytes]:
    """Names and values in the order of the form.

    Raises:
        UnreadableError: `form_malformed` where a byte is not escaped that should be (a percent sign is one), a
            parameter has no name, or there are too many; `form_duplicate_name`, for two readers would see two values.
    """
    if raw.translate(None, _WRITTEN) or raw.count(b"&") >= _MOST or _HALF_ESCAPE.search(raw):
        raise UnreadableError("form_malformed")
    found: dict[bytes, bytes] = {}
    for pair in raw.split(b"&"):
        if not pair:
            continue
        name, _, value = pair.partition(b"=")
        name = _decoded(name)
        if not name:
            raise UnreadableError("form_malformed")
        if name in found:
            raise UnreadableError("form_duplicate_name")
        found[name] = _decoded(value)
    return found


def strings(form: Mapping[bytes, bytes], charset: bytes) -> dict[str, str]:
    """Names and values that are not empty, as text.

    Args:
        form: as `parsed`.
        charset: what the form says that it is written in.

    Raises:
        UnreadableError: `charset_unknown`, or `text_invalid` where the bytes are none of that charset.
    """
    known = _CHARSETS.get(charset.decode("ascii", "replace").lower())
    if known is None:
        raise UnreadableError("charset_unknown")
    try:
        return {name.decode(known): value.decode(known) for name, value in form.items() if value}
    except UnicodeDecodeError:
        raise UnreadableError("text_invalid") from None


def check_one_reading(pairs: Iterable[tuple[bytes, bytes]]) -> None:
    """See that the text `name=value&name=value…` of these parameters, sorted, says nothing else as well.

    Alipay and UnionPay sign such a text and escape nothing in it. Who has one genuine form could fold a parameter into
    the value before it, the one behind the id for example, and would have another id under the same signature. What
    was folded in is known by its place: its name lies between the names around it.

    Args:
        pairs: those that are signed. Any that may not be are left out, since they would narrow the places.

    Raises:
        UnreadableError: `form_ambiguous`.
    """
    ordered = sorted(pairs)
    for index, (name, value) in enumerate(ordered):
        if b"=" in name:
            raise UnreadableError("form_ambiguous")
        last = index + 1 == len(ordered)
        if b"&" in value and any(name < found and (last or found < ordered[index + 1][0]) for found in _named(value)):
            raise UnreadableError("form_ambiguous")


def _named(value: bytes) -> Iterator[bytes]:
    """Names of parameters that may have been folded into a value."""
    pieces = (piece.partition(b"=") for piece in value.split(b"&")[1:])
    return (name for name, equals, _ in pieces if equals)


def _decoded(part: bytes) -> bytes:
    if b"+" in part:
        part = part.replace(b"+", b" ")
    if b"%" not in part:
        return part
    # With another sign for the percent sign this is quoted-printable, whose decoder is written in C. `unquote_to_bytes`
    # is not: a forged megabyte of escapes would keep all other callbacks waiting for a tenth of a second.
    return a2b_qp(part.replace(b"=", b"=3D").replace(b"%", b"="))
