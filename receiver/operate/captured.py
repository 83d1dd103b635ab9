"""Reads a captured callback: the JSON form, or raw HTTP as a proxy or `tcpdump` shows it."""

import base64
import binascii
import json
import math
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from receiver.events import Callback
from receiver.operate.errors import RequestUnreadable

_REQUEST_LINE: Final = re.compile(rb"([A-Z]+) (\S+)(?: HTTP/\d(?:\.\d)?)?")
_HEADER: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*")
_FORMS: Final = (
    "neither JSON with method, headers and body_b64, nor raw HTTP: a line such as POST /callbacks/stripe HTTP/1.1,"
    " header lines, an empty line, the body"
)


class _Form(msgspec.Struct):
    """The JSON form."""

    headers: list[tuple[str, str]] | dict[str, str]
    method: str = "POST"
    url: str | None = None
    query: str | None = None
    body_b64: str | None = None
    body: str | None = None


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """A captured callback."""

    callback: Callback
    clock: float | None = None
    """When it arrived, Unix seconds, if the file says so."""
    note: str | None = None
    """What was odd about the file, for whoever saved it."""


def read_captured(content: bytes) -> Captured:
    """A callback from the content of a file.

    Raises:
        RequestUnreadable: it is neither form. The message says what the forms are.
    """
    if content.lstrip()[:1] == b"{":
        return _from_json(content)
    return _from_http(content)


def _from_json(content: bytes) -> Captured:
    try:
        document = json.loads(content)
        whole = isinstance(document, dict) and isinstance(document.get("request"), dict)
        form = msgspec.convert(document["request"] if whole else document, _Form)
        clock = document.get("clock") if whole else None
        return Captured(callback=_callback(form), clock=_moment(clock) if isinstance(clock, int | float) else None)
    except (ValueError, OverflowError, RecursionError, msgspec.ValidationError) as error:
        raise RequestUnreadable(f"the JSON is not a captured request: {error}") from None


def _callback(form: _Form) -> Callback:
    """Raises ValueError where the form has no meaning, such as half a surrogate pair or an address that is none."""
    pairs = form.headers.items() if isinstance(form.headers, dict) else form.headers
    query = form.query if form.query is not None else urlsplit(form.url or "").query
    return Callback(
        method=form.method.upper(),
        headers=[(name.lower().encode(), value.encode()) for name, value in pairs],
        body=_body(form),
        query=query.encode(),
    )


def _moment(clock: float) -> float:
    moment = float(clock)
    if not math.isfinite(moment):
        raise ValueError("clock: is no time")
    return moment


def _body(form: _Form) -> bytes:
    if form.body_b64 is None:
        return (form.body or "").encode()
    try:
        return base64.b64decode(form.body_b64, validate=True)
    except binascii.Error as error:
        raise RequestUnreadable(f"body_b64 is no base64: {error}") from None


def _from_http(content: bytes) -> Captured:
    head, body = _split(content)
    first, *lines = head.replace(b"\r\n", b"\n").split(b"\n")
    request = _REQUEST_LINE.fullmatch(first.strip())
    if request is None:
        raise RequestUnreadable(_FORMS)
    headers = [_header(line) for line in lines]
    body, note = _bounded(body, headers)
    return Captured(
        callback=Callback(method=request[1].decode(), headers=headers, body=body, query=request[2].partition(b"?")[2]),
        note=note,
    )


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Head and body: they are parted by the first empty line, whichever way lines end."""
    found = re.search(rb"\r?\n\r?\n", content)
    if found is None:
        return content.rstrip(b"\r\n"), b""
    return content[: found.start()], content[found.end() :]


def _header(line: bytes) -> tuple[bytes, bytes]:
    found = _HEADER.fullmatch(line)
    if found is None:
        raise RequestUnreadable(f"the header line {line[:40].decode('latin-1')!r} is not of the form name: value")
    return found[1].lower(), found[2]


def _bounded(body: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, str | None]:
    """The body as its framing says, for editors end files with a newline of their own."""
    framing = dict(headers)
    if b"chunked" in framing.get(b"transfer-encoding", b"").lower():
        return _dechunked(body), None
    stated = framing.get(b"content-length", b"")
    if not stated.isdigit() or int(stated) == len(body):
        return body, None
    length = int(stated)
    if length < len(body):
        return body[:length], f"Content-Length says {length} bytes, the file has {len(body)}: the rest was left out"
    return body, f"Content-Length says {length} bytes, the file has only {len(body)}: it was cut or changed"


def _dechunked(body: bytes) -> bytes:
    """The content of a chunked body (RFC 9112, section 7.1); one that is not chunked after all is taken as it is."""
    parts: list[bytes] = []
    rest = body
    while True:
        line, newline, rest = rest.partition(b"\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            return body
        if not size:
            return b"".join(parts)
        if not newline or len(rest) < size:
            raise RequestUnreadable("the chunked body is cut short")
        parts.append(rest[:size])
        rest = rest[size:].removeprefix(b"\r").removeprefix(b"\n")
