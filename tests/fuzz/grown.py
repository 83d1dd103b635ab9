"""Callbacks that grow in one place, to see how the time of verification grows with them; see `test_linear`."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from msgspec.structs import replace

from receiver.events import Callback
from receiver.sources.template import HEADERS, headers_in
from tests.fuzz.bodies import Body, ways, with_member
from tests.fuzz.rounds import NOW, sealed
from tests.providers.accounts import Account
from tests.providers.places import signature, with_signature, with_time

Grow: TypeAlias = Callable[[Account, int], Callback | None]
"""A callback with so many bytes where it grows; None where the provider has no such place."""
HEADER_SHARE: Final = 8
"""A header is that much shorter than a body: above 16 KB none is looked at."""
BATCH_SHARE: Final = 4
"""A batch is that much longer: few items are no loop to speak of."""
PARTS: Final = (b",v1=", b",v1=00,", b" v1,AA==", b" v1a,AA==", b";h1=00", b"|", b"&a|0", b"=", b"\t", b"%25", b"\n")


def signature_of(part: bytes) -> Grow:
    """The signature, and behind it the same part over and over."""

    def grow(one: Account, size: int) -> Callback | None:
        good = one.sent(now=NOW)
        in_header = one.kind.signature_header is not None
        count = size // (HEADER_SHARE if in_header else 1) * 3 // 4 // len(part)
        return with_signature(one, good, signature(one, good) + part * count)

    return grow


def headers_of(change: Callable[[bytes, int], bytes]) -> Grow:
    """Each header at once."""

    def grow(one: Account, size: int) -> Callback | None:
        good = one.sent(now=NOW)
        return replace(good, headers=[(name, change(value, size // HEADER_SHARE)) for name, value in good.headers])

    return grow


def many_headers(same: bool) -> Grow:
    """Each header again and again."""

    def grow(one: Account, size: int) -> Callback | None:
        good = one.sent(now=NOW)
        again = [
            (name, value if same else value + b",%d" % number)
            for number in range(size // 256)
            for name, value in good.headers
        ]
        return replace(good, headers=again)

    return grow


def other_headers(one: Account, size: int) -> Callback | None:
    """A good callback among many headers that nobody asked for."""
    good = one.sent(now=NOW)
    return replace(good, headers=[*((b"x-%d" % number, b"y") for number in range(size // 64)), *good.headers])


def query_of(part: bytes) -> Grow:
    """The query, and behind it the same part over and over."""

    def grow(one: Account, size: int) -> Callback | None:
        good = one.sent(now=NOW)
        return replace(good, query=good.query + b"&a=" + part * (size // HEADER_SHARE // len(part)))

    return grow


def time_of_digits(one: Account, size: int) -> Callback | None:
    """A time of very many digits."""
    return with_time(one, one.sent(now=NOW), b"9" * (size // HEADER_SHARE * 3 // 4))


def json_of(before: bytes, part: bytes, after: bytes) -> Grow:
    """A member of that kind in front of a good JSON body, signed."""

    def grow(one: Account, size: int) -> Callback | None:
        body, beside = _rendered(one)
        if not body.startswith(b"{"):
            return None
        member = before + _numbered(part, size) + after
        return sealed(one, Body("", b'{"aaa":' + member + b"," + body[1:], beside))

    return grow


def form_of(part: bytes, before: bytes = b"") -> Grow:
    """Parameters behind a good form, signed."""

    def grow(one: Account, size: int) -> Callback | None:
        body, beside = _rendered(one)
        if body[:1] in b"{<":
            return None
        return sealed(one, Body("", body + before + _numbered(part, size), beside))

    return grow


def xml_of(before: bytes, part: bytes, after: bytes) -> Grow:
    """An element in front of the others of a good document, signed."""

    def grow(one: Account, size: int) -> Callback | None:
        body, beside = _rendered(one)
        if not body.startswith(b"<"):
            return None
        root = body.index(b">", body.index(b"<notification")) + 1
        return sealed(one, Body("", body[:root] + before + _numbered(part, size) + after + body[root:], beside))

    return grow


def batch_of(item: str | None) -> Grow:
    """Each list of a good body with its first item, or another, over and over, an id of its own in each."""

    def grow(one: Account, size: int) -> Callback | None:
        body, beside = _rendered(one)
        if not body.startswith(b"{"):
            return None
        document = json.loads(body)
        lists = [name for name, member in document.items() if isinstance(member, list) and member]
        for name in lists:
            text = item or json.dumps(document[name][0])
            document[name] = [_own(text, number) for number in range(BATCH_SHARE * size // len(text))]
        return sealed(one, Body("", json.dumps(document).encode(), beside)) if lists else None

    return grow


def members(one: Account) -> Iterator[tuple[str, Grow]]:
    """Each member of the first sample as a long text: an id, a type, an entity, a time."""
    body, beside = _rendered(one)
    if not body.startswith(b"{"):
        return
    document = json.loads(body)
    for way in ways(document):

        def grow(one: Account, size: int, way: tuple[str | int, ...] = way) -> Callback | None:
            whole = json.dumps(with_member(document, way, "1" * size)).encode()
            return sealed(one, Body("", whole, beside))

        yield "member " + ".".join(map(str, way)), grow


GROWN: Final[Mapping[str, Grow]] = {
    **{f"signature and {part!r}": signature_of(part) for part in PARTS},
    "each header long": headers_of(lambda value, size: value + b"1" * (size * 3 // 4)),
    "each header of commas": headers_of(lambda value, size: value + b"," * (size * 3 // 4)),
    "each header again": many_headers(True),
    "each header again, another": many_headers(False),
    "many other headers": other_headers,
    "long query": query_of(b"1"),
    "query of many parameters": query_of(b"&a=1"),
    "query of escapes": query_of(b"%41"),
    "time of many digits": time_of_digits,
    "long text": json_of(b'"', b"x", b'"'),
    "escapes": json_of(b'"', rb"\u0041", b'"'),
    "backslashes": json_of(b'"', rb"\\", b'"'),
    "quotes": json_of(b'"', rb"\"", b'"'),
    "text beyond ASCII": json_of(b'"', "é".encode(), b'"'),
    "not quite a NUL": json_of(b'"', rb"\\u0000", b'"'),
    "many that are not quite a NUL": json_of(b"[", rb'"\\u0000%d",', b"1]"),
    "wide": json_of(b"{", b'"a%d":1,', b'"z":1}'),
    "the same name": json_of(b"{", b'"a":1,', b'"a":1}'),
    "many numbers": json_of(b"[", b"%d,", b"1]"),
    "many objects": json_of(b"[", b'{"id":"a%d"},', b"{}]"),
    "fractions": json_of(b"[", b"1.%d,", b"1]"),
    "digits": json_of(b"", b"1", b""),
    "digits after a point": json_of(b"1.", b"1", b""),
    "an exponent": json_of(b"1e", b"1", b""),
    "deep lists": json_of(b"", b"[", b""),
    "deep objects": json_of(b"", b'{"a":', b""),
    "blanks": json_of(b"1", b" ", b""),
    "many parameters": form_of(b"&a%d=1"),
    "the same parameter": form_of(b"&a=1"),
    "parameters without names": form_of(b"&"),
    "a long parameter": form_of(b"1", b"&a="),
    "a long name": form_of(b"a", b"&"),
    "escapes in a form": form_of(b"%41", b"&a="),
    "plus signs": form_of(b"+", b"&a="),
    "JSON in a form": form_of(b"%5B", b"&biz_content="),
    "many elements": xml_of(b"", b"<a%d>1</a%d>", b""),
    "the same element": xml_of(b"", b"<a>1</a>", b""),
    "deep elements": xml_of(b"", b"<a>", b""),
    "attributes": xml_of(b"<a", b' a%d="1"', b"/>"),
    "items": xml_of(b'<a type="array">', b"<item>1</item>", b"</a>"),
    "text": xml_of(b"<a>", b"x", b"</a>"),
    "entities": xml_of(b"<a>", b"&amp;", b"</a>"),
    "an integer": xml_of(b'<a type="integer">', b"1", b"</a>"),
    "many items": batch_of(None),
    "many small items": batch_of('{"id":"123456789012345"}'),
}


def grown(one: Account) -> Iterator[tuple[str, Grow]]:
    """All that can grow."""
    yield from GROWN.items()
    yield from members(one)


def _rendered(one: Account) -> tuple[bytes, Mapping[str, str]]:
    payload = one.payload(now=NOW)
    written = {name: part for name, part in payload.items() if name != HEADERS}
    return one.source.provider.render(written, NOW), headers_in(payload)


def _numbered(part: bytes, size: int) -> bytes:
    if b"%d" not in part:
        return part * (size // len(part))
    return b"".join(part.replace(b"%d", b"%d" % number) for number in range(size // (len(part) + 3)))


def _own(item: str, number: int) -> object:
    return json.loads(item.replace("123456789012345", f"{number:015}"))
