"""How a sender signs, read from settings: for those that need no class of their own."""

import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from receiver.errors import SettingsError, VerificationError
from receiver.sources import keys, signatures, times
from receiver.sources.layout import Layout, Path
from receiver.sources.options import Option, text

ALGORITHMS: Final = ("sha256", "sha512", "sha384", "sha1")
_SPELLINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "hex": lambda digest: digest.hex().encode(),
    "base64": b64encode,
    "base64url": lambda digest: urlsafe_b64encode(digest).rstrip(b"="),
}
_SECRETS: Final[Mapping[str, Callable[[str], bytes]]] = {
    "text": str.encode,
    "hex": bytes.fromhex,
    "base64": lambda secret: b64decode(secret, validate=True),
}
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PIECE: Final = re.compile(r"\{([^{}]*)\}")
BODY: Final = "body"
TIME: Final = "timestamp"
_HEADER: Final = "header:"


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How one sender signs."""

    hmacs: tuple[signatures.Hmac, ...]
    """One for each secret."""
    header: bytes
    """Lower-case name of the header with the signature."""
    spell: Callable[[bytes], bytes]
    """A digest as it stands there."""
    prefix: bytes
    separator: bytes
    """Between several items of the header; empty: it holds one signature and nothing else."""
    item: bytes
    """Name of the items that are signatures; empty: all are."""
    time_header: bytes
    time_item: bytes
    """Where the time is signed: in a header, or in an item of the signature's; both empty: nowhere."""
    tolerance: float
    """Seconds."""
    template: tuple[bytes | str, ...]
    """What is signed: text as bytes; `body`, `timestamp` or `header:name` as text."""

    @property
    def headers(self) -> frozenset[bytes]:
        """Lower-case names of all that verification looks at."""
        texts = [piece for piece in self.template if isinstance(piece, str)]
        named = {piece[len(_HEADER) :].encode() for piece in texts if piece.startswith(_HEADER)}
        return frozenset({self.header, self.time_header, *named} - {b""})

    def items(self, header: bytes) -> list[bytes]:
        """The items of the signature's header."""
        return [item.strip() for item in header.split(self.separator)] if self.separator else [header]

    def candidates(self, header: bytes) -> list[bytes]:
        """The signatures in it. Raises VerificationError."""
        start = (self.item + b"=" if self.item else b"") + self.prefix
        found = [item[len(start) :] for item in self.items(header) if item.startswith(start)]
        if not found:
            raise VerificationError("signature_malformed")
        return found

    def time(self, found: Mapping[bytes, bytes]) -> bytes:
        """The time as it is spelled, empty where none is signed. Raises VerificationError."""
        if self.time_item:
            start = self.time_item + b"="
            times_ = [item[len(start) :] for item in self.items(found[self.header]) if item.startswith(start)]
        else:
            times_ = [found[self.time_header]] if self.time_header in found else []
        if (self.time_item or self.time_header) and len(times_) != 1:
            raise VerificationError("timestamp_malformed" if times_ else "timestamp_missing")
        return times_[0] if times_ else b""

    def parts(self, body: bytes, sent: bytes, found: Mapping[bytes, bytes]) -> list[bytes]:
        """What is signed, piece by piece. Raises VerificationError where a header is missing."""
        return [self._part(piece, body, sent, found) for piece in self.template]

    def _part(self, piece: bytes | str, body: bytes, sent: bytes, found: Mapping[bytes, bytes]) -> bytes:
        if isinstance(piece, bytes):
            return piece
        if piece == BODY:
            return body
        if piece == TIME:
            return sent
        value = found.get(piece[len(_HEADER) :].encode())
        if value is None:
            raise VerificationError("header_missing")
        return value


def read_scheme(options: Mapping[str, Option]) -> Scheme:
    """How the sender signs.

    Raises:
        SettingsError: a setting makes no sense; the message begins with its name.
    """
    template = _template(text(options, "signed") or "{body}")
    time_header, time_item = _header(options, "timestamp_header"), (text(options, "timestamp_item") or "").encode()
    separator, item = (text(options, "separator") or "").encode(), (text(options, "scheme") or "").encode()
    if time_header and time_item:
        raise SettingsError("timestamp_item: the time stands in timestamp_header already")
    if (time_item or item) and not separator:
        raise SettingsError(f"{'scheme' if item else 'timestamp_item'}: needs a separator between items")
    timed = bool(time_header or time_item)
    if timed != (TIME in template):
        problem = "holds no {timestamp}, so it is not signed" if timed else "has {timestamp}, which stands nowhere"
        raise SettingsError(f"signed: {problem}")
    return Scheme(
        hmacs=_hmacs(options),
        header=_header(options, "header"),
        spell=_SPELLINGS[_choice(options, "encoding", tuple(_SPELLINGS))],
        prefix=(text(options, "prefix") or "").encode(),
        separator=separator,
        item=item,
        time_header=time_header,
        time_item=time_item,
        tolerance=_seconds(options, "tolerance", 300),
        template=template,
    )


def read_layout(options: Mapping[str, Option]) -> Layout:
    """Where the sender's messages hold their facts. Raises SettingsError."""
    for one, other in (("id", "id_header"), ("type", "type_header")):
        if text(options, one) and text(options, other):
            raise SettingsError(f"{other}: {one} says already where it stands")
    entity = _path(options, "entity")
    return Layout(
        id=_path(options, "id"),
        id_header=_header(options, "id_header") or None,
        type=_path(options, "type"),
        type_header=_header(options, "type_header") or None,
        entities=(entity,) if entity else (),
        occurred_at=_path(options, "time"),
        reading=times.from_any,
    )


def _hmacs(options: Mapping[str, Option]) -> tuple[signatures.Hmac, ...]:
    decode = _SECRETS[_choice(options, "secret_encoding", tuple(_SECRETS))]
    algorithm = _choice(options, "algorithm", ALGORITHMS)
    found = []
    for index, secret in enumerate(keys.secrets(options, "secrets")):
        try:
            key = decode(secret)
        except ValueError:
            raise SettingsError(f"secrets[{index}]: is not in {text(options, 'secret_encoding')}") from None
        if not key:
            raise SettingsError(f"secrets[{index}]: is empty")
        found.append(signatures.Hmac(key, algorithm))
    return tuple(found)


def _template(written: str) -> tuple[bytes | str, ...]:
    pieces: list[bytes | str] = []
    for place, piece in enumerate(_PIECE.split(written)):
        if place % 2 == 0:
            if "{" in piece or "}" in piece:
                raise SettingsError("signed: has a brace without its other")
            pieces += [piece.encode()] if piece else []
        elif piece in {BODY, TIME}:
            pieces.append(piece)
        elif piece.startswith(_HEADER) and _NAME.fullmatch(piece[len(_HEADER) :]):
            pieces.append(piece.lower())
        else:
            raise SettingsError(f"signed: {{{piece}}} is none of {{body}}, {{timestamp}}, {{header:NAME}}")
    if BODY not in pieces:
        raise SettingsError("signed: holds no {body}, so anybody could change it")
    return tuple(pieces)


def _choice(options: Mapping[str, Option], name: str, choices: tuple[str, ...]) -> str:
    chosen = text(options, name) or choices[0]
    if chosen not in choices:
        raise SettingsError(f"{name}: {chosen!r} is none of {', '.join(choices)}")
    return chosen


def _header(options: Mapping[str, Option], name: str) -> bytes:
    written = text(options, name) or ""
    if written and not _NAME.fullmatch(written):
        raise SettingsError(f"{name}: {written!r} is no header's name")
    return written.lower().encode()


def _path(options: Mapping[str, Option], name: str) -> Path | None:
    written = text(options, name)
    if written is None:
        return None
    path = tuple(written.split("."))
    if not all(path):
        raise SettingsError(f"{name}: {written!r} is no path such as data.id")
    return path


def _seconds(options: Mapping[str, Option], name: str, default: float) -> float:
    written = text(options, name)
    try:
        seconds = default if written is None else float(written)
    except ValueError:
        seconds = -1
    if not 0 < seconds < float("inf"):
        raise SettingsError(f"{name}: {written!r} is no number of seconds")
    return seconds
