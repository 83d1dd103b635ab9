"""Looks for the change that broke a signature, by undoing the usual ones and checking again."""

import datetime as dt
import json
import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import Provider

_SECONDS: Final = re.compile(rb"(?<![0-9A-Za-z])[0-9]{10}(?![0-9A-Za-z])")
_ABOUT_TIME: Final = frozenset({"timestamp_expired", "timestamp_future"})


def _compact(body: bytes) -> bytes:
    return json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode()


def _indented(body: bytes) -> bytes:
    return json.dumps(json.loads(body), indent=2, ensure_ascii=False).encode()


def _spaced(body: bytes) -> bytes:
    return json.dumps(json.loads(body), ensure_ascii=False).encode()


def _escaped(body: bytes) -> bytes:
    return json.dumps(json.loads(body), separators=(",", ":")).encode()


_UNDO: Final[tuple[tuple[str, Callable[[bytes], bytes]], ...]] = (
    ("a line end was added behind the body", lambda body: body.rstrip(b"\r\n")),
    ("the line end behind the body was lost", lambda body: body + b"\n"),
    ("line ends were changed from LF to CRLF", lambda body: body.replace(b"\r\n", b"\n")),
    ("line ends were changed from CRLF to LF", lambda body: body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")),
    ("a byte-order mark was added", lambda body: body.removeprefix(b"\xef\xbb\xbf")),
    ("the body was parsed and serialised again: it was compact JSON", _compact),
    ("the body was parsed and serialised again: it was compact JSON in ASCII", _escaped),
    ("the body was parsed and serialised again: it was indented JSON", _indented),
    ("the body was parsed and serialised again: it was JSON with spaces", _spaced),
)


def diagnose(provider: Provider, callback: Callback, reason: str, at: float) -> str | None:
    """What exactly is wrong, where that can be found out.

    Args:
        provider: with the keys that did not match.
        callback: as captured.
        reason: why it failed.
        at: Unix seconds at which it was checked.
    """
    if reason in _ABOUT_TIME:
        return _skew(provider, callback, at)
    if reason != "signature_mismatch":
        return None
    for change, body in _variants(callback.body):
        if _verifies(provider, msgspec.structs.replace(callback, body=body), at):
            return change
    return None


def right_at_its_own_time(provider: Provider, callback: Callback, reason: str) -> bool:
    """Whether nothing but the time is wrong: the signature is right at the moment that it names.

    Args:
        provider: with the keys that count.
        callback: as captured.
        reason: why it failed.
    """
    return reason in _ABOUT_TIME and any(_verifies(provider, callback, sent) for sent in _times(provider, callback))


def _variants(body: bytes) -> Iterator[tuple[str, bytes]]:
    for change, undo in _UNDO:
        try:
            original = undo(body)
        except (ValueError, RecursionError):  # not JSON
            continue
        if original != body:
            yield change, original


def _skew(provider: Provider, callback: Callback, at: float) -> str | None:
    """Both times, and whether the signature would be right at its own."""
    for sent in _times(provider, callback):
        right = "is right" if _verifies(provider, callback, sent) else "does not match at that time either"
        early = "before" if sent < at else "after"
        apart = dt.timedelta(seconds=abs(int(at) - sent))
        return f"signed at {_iso(sent)}, which is {apart} {early} the check at {_iso(at)}; the signature itself {right}"
    return None


def _times(provider: Provider, callback: Callback) -> Iterator[int]:
    """Unix seconds in the headers that the provider signs with."""
    for name, value in callback.headers:
        if name in provider.kept_headers() and (found := _SECONDS.search(value)):
            yield int(found[0])


def _verifies(provider: Provider, callback: Callback, at: float) -> bool:
    try:
        provider.authenticate(callback, at)
    except VerificationError:
        return False
    return True


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
