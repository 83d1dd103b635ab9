"""Changes to a good callback, in one place after the other; they are pure, so that hypothesis can shrink them."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from hypothesis import strategies as st
from msgspec.structs import replace

from receiver.events import Callback

Change: TypeAlias = tuple[str, str, int, bytes]
"""Which part, what happens to it, where (in 65,536ths), and what with."""
Part: TypeAlias = Callable[[bytes, int, bytes], bytes]

PIECES: Final = (
    *(b"", b"\0", b"\n", b"\xff", "é".encode(), "١٧٦".encode(), b"\xed\xa0\x80", b"\xef\xbb\xbf", b" "),
    *(
        b",",
        b";",
        b"=",
        b"|",
        b"&",
        b".",
        b"==",
        b"t=",
        b"ts=",
        b"v1=",
        b"v1,",
        b"v1a,",
        b"h1=",
        b"sha256=",
        b"v0=,v1=",
    ),
    *(b"0", b"-1", b"1e400", b"NaN", b"1760000000", b"9" * 400, b"1" * 5_000, b"A" * 20_000, b"0" * 300_000),
    *(b"%", b"%00", b"%ff", b"%ed%a0%80", b"%25", b"+", b"&id=1", b"&sign=", b"id=tr_1"),
    *(b"{", b"}", b"[" * 300, b'"', b"\\", rb"\u0000", rb"\ud800", b'"id":1,', b"null", b"[]", b'{"a":' * 300),
    *(b"<", b"<a>", b"</a>", b"&#0;", b"&#xD800;", b"<!DOCTYPE a [<!ENTITY e 'x'>]>", b"-----BEGIN CERTIFICATE-----"),
)
OPERATIONS: Final[Mapping[str, Part]] = {
    "insert": lambda whole, at, piece: whole[:at] + piece + whole[at:],
    "overwrite": lambda whole, at, piece: whole[:at] + piece + whole[at + len(piece) :],
    "replace": lambda _whole, _at, piece: piece,
    "head": lambda whole, at, _piece: whole[:at],
    "tail": lambda whole, at, _piece: whole[at:],
    "flip": lambda whole, at, piece: (
        whole[:at] + bytes(b ^ 1 << len(piece) % 8 for b in whole[at : at + 1]) + whole[at + 1 :]
    ),
    "double": lambda whole, _at, piece: whole + piece + whole,
    "case": lambda whole, at, _piece: whole[:at] + whole[at:].swapcase(),
    "digits": lambda whole, at, piece: whole[:at] + whole[at:].replace(b"1", piece[:8]),
}
PARTS: Final = ("body", "query", "name", "value", "value", "drop", "again", "method")


def changes(parts: tuple[str, ...] = PARTS) -> st.SearchStrategy[list[Change]]:
    """One to three changes."""
    piece = st.sampled_from(PIECES) | st.binary(max_size=12)
    change = st.tuples(st.sampled_from(parts), st.sampled_from(tuple(OPERATIONS)), st.integers(0, 0xFFFF), piece)
    return st.lists(change, min_size=1, max_size=3)


def changed(callback: Callback, done: list[Change]) -> Callback:
    """The callback after all of `done`."""
    for part, operation, where, piece in done:
        callback = _changed(callback, part, OPERATIONS[operation], where, piece)
    return callback


def edited(whole: bytes, done: list[Change]) -> bytes:
    """Bytes after all of `done`, whatever part they name."""
    for _, operation, where, piece in done:
        whole = OPERATIONS[operation](whole, _at(whole, where), piece)
    return whole


def _changed(callback: Callback, part: str, operation: Part, where: int, piece: bytes) -> Callback:
    if part == "method":
        return replace(callback, method="GET", query=callback.query or callback.body)
    if part == "body":
        return replace(callback, body=operation(callback.body, _at(callback.body, where), piece))
    if part == "query":
        return replace(callback, query=operation(callback.query, _at(callback.query, where), piece))
    headers = list(callback.headers)
    if not headers:
        return callback
    place = where % len(headers)
    name, value = headers[place]
    if part == "drop":
        del headers[place]
    elif part == "name":
        headers[place] = operation(name, _at(name, where), piece).lower(), value
    else:
        other = name, operation(value, _at(value, where), piece)
        headers[place : place + 1] = [(name, value), other] if part == "again" else [other]
    return replace(callback, headers=headers)


def _at(whole: bytes, where: int) -> int:
    return where * len(whole) >> 16
