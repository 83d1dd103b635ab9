"""The template of a signed string, such as `v0:{timestamp}:{body}`: read once, filled in for every callback."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from receiver.errors import SettingsError, VerificationError

HEADER_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_BODY: Final = "body"
_TIMESTAMP: Final = "timestamp"
_URL: Final = "url"
_HEADER: Final = "header:"
_KNOWN: Final = "{body}, {timestamp}, {url} and {header:NAME}"


@dataclass(frozen=True)
class _Place:
    """Where something of the callback goes: its body, its time, or a header."""

    kind: str
    header: bytes = b""
    """Its lower-case name, where the place is for one."""
    border: bytes = b""
    """The text between a header and the next one, or the time, towards the body. No value may hold it, or a part of the
    one could be passed off as a part of the other: an id that nobody gave. Beside the body none is needed: of what an
    object in JSON begins or ends with, nothing shorter or longer is an object itself, so that it would be put aside."""


class SignedString:
    """What is signed: text, with places for what each callback brings.

    Args:
        template: as it stands in the setting `signed`.
        url: what `{url}` stands for, where it is known.

    Raises:
        SettingsError: the template has a place that nobody knows, does not hold the body once, or holds a header so
            near to another that they could not be told apart. The message begins with the setting's name.
    """

    def __init__(self, template: str, url: str | None) -> None:
        split = _PLACE.split(template)
        _check(split[::2], split[1::2], url)
        parts = [piece.encode() if at % 2 == 0 else _place(piece, url or "") for at, piece in enumerate(split)]
        self._parts = _bordered([part for part in parts if part])
        self.headers = frozenset(part.header for part in self._parts if isinstance(part, _Place) and part.header)
        """Lower-case names of those that are signed."""
        self.holds_time = _TIMESTAMP in split[1::2]
        """Whether the time of the sending is signed."""

    def parts(self, body: bytes, sent: bytes, found: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        """What is signed, one part behind the other.

        Args:
            body: raw.
            sent: the time as it is spelled, where there is one.
            found: the headers, by lower-case name.

        Raises:
            VerificationError: `header_missing`; `header_malformed` for one that holds the text beside its place.
        """
        return tuple(part if isinstance(part, bytes) else _filled(part, body, sent, found) for part in self._parts)


def _check(texts: Sequence[str], places: Sequence[str], url: str | None) -> None:
    if any(brace in text for text in texts for brace in "{}"):
        raise SettingsError(f"signed: a brace belongs to no place; there are {_KNOWN}")
    if places.count(_BODY) != 1:
        raise SettingsError("signed: must hold {body} once, or nothing would vouch for what a callback says")
    if url is None and _URL in places:
        raise SettingsError("url: is missing; signed holds {url}")
    if url is not None and _URL not in places:
        raise SettingsError("url: is given, but signed does not hold {url}")


def _place(name: str, url: str) -> bytes | _Place:
    if name == _URL:
        return url.encode()
    if name in {_BODY, _TIMESTAMP}:
        return _Place(name)
    header = name.removeprefix(_HEADER)
    if header == name or not HEADER_NAME.fullmatch(header):
        raise SettingsError(f"signed: there is no place {{{name}}}; there are {_KNOWN}")
    return _Place(_HEADER, header.lower().encode())


def _bordered(parts: list[bytes | _Place]) -> list[bytes | _Place]:
    """With the border of each header; a time needs none, since its spelling is checked."""
    body = parts.index(_Place(_BODY))
    before, after = parts[:body], parts[:body:-1]
    return [*_towards(before), parts[body], *reversed(_towards(after))]


def _towards(parts: Sequence[bytes | _Place]) -> list[bytes | _Place]:
    """The parts on one side of the body, the outermost first."""
    found = list(parts)
    for at, part in enumerate(parts):
        further = parts[at + 1 :]
        if isinstance(part, bytes) or not part.header or all(isinstance(piece, bytes) for piece in further):
            continue
        border = further[0]
        if not isinstance(border, bytes):
            raise SettingsError(f"signed: no text ends {{header:{part.header.decode()}}}, so the next one might move")
        found[at] = replace(part, border=border)
    return found


def _filled(place: _Place, body: bytes, sent: bytes, found: Mapping[bytes, bytes]) -> bytes:
    if not place.header:
        return body if place.kind == _BODY else sent
    value = found.get(place.header)
    if not value:
        raise VerificationError("header_missing")
    if place.border and place.border in value:
        raise VerificationError("header_malformed")
    return value
