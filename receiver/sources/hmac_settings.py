"""The settings of the generic provider `hmac`, and what becomes of them: a scheme, and a layout of the messages."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from receiver.errors import SettingsError, VerificationError
from receiver.sources import signatures, times
from receiver.sources.base import Setting
from receiver.sources.layout import Layout, Path
from receiver.sources.options import Option, number, text, texts
from receiver.sources.signed_string import HEADER_NAME, SignedString

TOLERANCE: Final = 300
"""Seconds, both ways, where the settings do not say another."""
_DIGITS: Final = 15
_SEPARATORS: Final = (",", ";", " ", ", ", "; ")

SETTINGS: Final[Mapping[str, Setting]] = {
    "secrets": Setting(help="shared secrets, newest first; each one verifies", secret=True, many=True, key=True),
    "secret_encoding": Setting(
        help="how a secret writes the key: text (default), hex or base64", choices=("text", "hex", "base64")
    ),
    "header": Setting(help="header with the signature", example="X-Signature"),
    "algorithm": Setting(
        help="digest of the HMAC: sha256 (default), sha1, sha384 or sha512",
        choices=("sha256", "sha1", "sha384", "sha512"),
    ),
    "encoding": Setting(
        help="how the signature is written: hex (default), base64 or base64url", choices=("hex", "base64", "base64url")
    ),
    "signed": Setting(
        help="the signed string, with {body} and, where they are signed, {timestamp}, {url} and {header:NAME}; "
        "default: {body}"
    ),
    "url": Setting(help="what {url} stands for: the address that the sender calls, as it knows it"),
    "separator": Setting(
        help="what stands between the items of the signature header, where it is a list: a comma, a semicolon or a "
        "space, or a comma or semicolon and a space",
        choices=_SEPARATORS,
    ),
    "scheme": Setting(help="with a separator: the name of the items that are signatures, such as v1 in t=…,v1=…"),
    "prefix": Setting(help="what stands before a signature in its header or item, such as sha256="),
    "timestamp_header": Setting(help="header with the time of the sending"),
    "timestamp_item": Setting(help="or, with a separator, the name of the item that holds it, such as t"),
    "timestamp_format": Setting(
        help="how that time is written: seconds (default) or milliseconds since 1970, or iso",
        choices=("seconds", "milliseconds", "iso"),
    ),
    "tolerance": Setting(help=f"seconds that this time may be off, either way (default {TOLERANCE})", number=True),
    "id": Setting(help="members that lead to the event's id, joined by points: event.id"),
    "id_header": Setting(help="header with the event's id, where the body has none"),
    "type": Setting(help="members that lead to its type"),
    "type_header": Setting(help="header with its type, where the body has none"),
    "entity": Setting(
        help="members that lead to the payment or order it is about; of several the first that is there", many=True
    ),
    "time": Setting(help="members that lead to its own time: ISO 8601 with an offset, or Unix time"),
    "livemode": Setting(help="members that lead to a boolean: false for test mode"),
}


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Where the time of the sending stands, and how far it may be off."""

    header: bytes | None
    """Its header; None: it is an item of the signature's."""
    item: bytes
    """Its name there, with the sign that follows it."""
    format: str
    tolerance: float
    """Seconds, both ways."""

    def sent(self, found: Mapping[bytes, bytes], items: list[bytes]) -> bytes:
        """The time as it is spelled; it must stand there once. Raises VerificationError."""
        if self.header is not None:
            spelled = [value for name, value in found.items() if name == self.header and value]
        else:
            spelled = [item[len(self.item) :] for item in items if item.startswith(self.item)]
        if not spelled:
            raise VerificationError("timestamp_missing")
        if len(spelled) > 1:
            raise VerificationError("timestamp_malformed")
        return spelled[0]

    def check(self, sent: bytes, now: float) -> None:
        """Refuse what was signed too long ago or in the future (`now` in Unix seconds). Raises VerificationError."""
        signatures.within(_SECONDS[self.format](sent), now, self.tolerance)

    def written(self, now: float) -> bytes:
        """`now` (Unix seconds) as the sender writes it."""
        if self.format == "iso":
            return dt.datetime.fromtimestamp(int(now), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
        return b"%d" % (int(now) * (1000 if self.format == "milliseconds" else 1))


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How the sender signs."""

    header: bytes | None
    """Lower-case name; None only where nothing is verified."""
    algorithm: str
    encoding: str
    prefix: bytes
    separator: bytes
    signed: SignedString
    clock: Clock | None

    def items(self, header: bytes) -> list[bytes]:
        """What the signature's header lists."""
        return header.split(self.separator) if self.separator else [header]


def scheme(options: Mapping[str, Option]) -> Scheme:
    """The scheme that the settings describe. Raises SettingsError, whose message begins with the setting's name."""
    signed = SignedString(text(options, "signed") or "{body}", text(options, "url"))
    return Scheme(
        header=_header(options, "header"),
        algorithm=text(options, "algorithm") or "sha256",
        encoding=text(options, "encoding") or "hex",
        prefix=_item(options, "scheme") + _ascii(options, "prefix"),
        separator=_ascii(options, "separator"),
        signed=signed,
        clock=_clock(options, signed),
    )


def layout(options: Mapping[str, Option], signed_headers: frozenset[bytes]) -> Layout:
    """Where the messages hold what, as the settings say it. Raises SettingsError likewise."""
    for name in ("id", "type"):
        if name in options and f"{name}_header" in options:
            raise SettingsError(f"{name}_header: stands beside {name}; it is read in one place")
    return Layout(
        id=_path(options, "id"),
        id_header=_header(options, "id_header"),
        signed_headers=signed_headers,
        type=_path(options, "type"),
        type_header=_header(options, "type_header"),
        entities=tuple(_split(way, f"entity[{index}]") for index, way in enumerate(texts(options, "entity"))),
        occurred_at=_path(options, "time"),
        reading=times.from_any,
        livemode=_path(options, "livemode"),
    )


def _clock(options: Mapping[str, Option], signed: SignedString) -> Clock | None:
    header, item = _header(options, "timestamp_header"), _item(options, "timestamp_item")
    if header and item:
        raise SettingsError("timestamp_item: stands beside timestamp_header; the time is read in one place")
    if not header and not item:
        _check_timeless(options, signed)
        return None
    if not signed.holds_time:
        raise SettingsError("signed: does not hold {timestamp}, so that anybody could change the time")
    tolerance = number(options, "tolerance")
    return Clock(
        header=header,
        item=item,
        format=text(options, "timestamp_format") or "seconds",
        tolerance=TOLERANCE if tolerance is None else tolerance,
    )


def _check_timeless(options: Mapping[str, Option], signed: SignedString) -> None:
    if signed.holds_time:
        raise SettingsError("timestamp_header: is missing, or timestamp_item; signed holds {timestamp}")
    for name in ("timestamp_format", "tolerance"):
        if name in options:
            raise SettingsError(f"{name}: is given, but neither timestamp_header nor timestamp_item")


def _header(options: Mapping[str, Option], name: str) -> bytes | None:
    value = text(options, name)
    if value is not None and not HEADER_NAME.fullmatch(value):
        raise SettingsError(f"{name}: {value!r} is no name of a header")
    return value.lower().encode() if value else None


def _ascii(options: Mapping[str, Option], name: str) -> bytes:
    value = text(options, name) or ""
    if not value.isascii():
        raise SettingsError(f"{name}: is not ASCII, as headers are")
    return value.encode()


def _item(options: Mapping[str, Option], name: str) -> bytes:
    """The name of items in a list, with the sign that follows it."""
    value = _ascii(options, name)
    if value and "separator" not in options:
        raise SettingsError(f"{name}: needs a separator between the items")
    return value + b"=" if value else b""


def _path(options: Mapping[str, Option], name: str) -> Path | None:
    value = text(options, name)
    return None if value is None else _split(value, name)


def _split(value: str, name: str) -> Path:
    path = tuple(value.split("."))
    if not all(path):
        raise SettingsError(f"{name}: {value!r} has an empty member; names are joined by points, as in event.id")
    return path


def _milliseconds(sent: bytes) -> int:
    if not sent.isdigit() or len(sent) > _DIGITS:
        raise VerificationError("timestamp_malformed")
    return int(sent) // 1000


def _iso(sent: bytes) -> int:
    time = times.from_iso(sent.decode())
    if time is None:
        raise VerificationError("timestamp_malformed")
    return times.to_unix(time)


_SECONDS: Final[Mapping[str, Callable[[bytes], int]]] = {
    "seconds": signatures.timestamp,
    "milliseconds": _milliseconds,
    "iso": _iso,
}
