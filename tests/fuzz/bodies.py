"""Genuine bodies with something odd in them: each member of each sample in turn, in JSON, forms and XML."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlencode

from receiver.sources.template import HEADERS, headers_in
from tests.providers.accounts import Account
from tests.sources.conftest import encrypted

DEEP: Final = 200
LONG: Final = b"e" * 9_000
TEXT: Final[Mapping[str, bytes]] = {
    "empty": b"",
    "long": LONG,
    "of 600 letters": b"e" * 600,
    "zero": b"0",
    "minus one": b"-1",
    "1e400": b"1e400",
    "400 digits": b"9" * 400,
    "the first day": b"0001-01-01T00:00:00+14:00",
    "the last second": b"9999-12-31T23:59:59.999999-23:59",
    "the last day in China": b"9999-12-31 23:59:59",
    "Arabic digits": "١٧٦٠٠٠٠٠٠٠".encode(),
    "a line's end": b"a\r\nb: c",
}
"""What stands for a text in every kind of body."""
IN_JSON: Final[Mapping[str, bytes]] = {
    **{case: json.dumps(text.decode(), ensure_ascii=False).encode() for case, text in TEXT.items()},
    "null": b"null",
    "true": b"true",
    "false": b"false",
    "number 0": b"0",
    "number -1": b"-1",
    "number -0.0": b"-0.0",
    "number 1e400": b"1e400",
    "number of 20 digits": b"12345678901234567890",
    "number of 400 digits": b"9" * 400,
    "number of 5,000 digits": b"9" * 5_000,
    "year 9999": b"253402300799",
    "year 9999 in milliseconds": b"253402300799999",
    "list": b"[]",
    "list of null": b"[null]",
    "list of objects": b'[{"id":"a"},{}]',
    "object": b"{}",
    "object with an empty name": b'{"":""}',
    "lists to the limit": b"[" * (DEEP - 20) + b"]" * (DEEP - 20),
    "lists below the limit": b"[" * DEEP + b"]" * DEEP,
    "objects below the limit": b'{"id":' * DEEP + b"1" + b"}" * DEEP,
    "a lone surrogate": rb'"\ud800"',
    "a surrogate pair": rb'"\ud83d\ude00"',
    "a NUL": rb'"a\u0000"',
    "not UTF-8": b'"\xff"',
    "NaN": b"NaN",
    "no value": b"",
    "twice": b'1,"%(name)s":2',
    "twice and the same": b'"a","%(name)s":"a"',
}
IN_FORMS: Final[Mapping[str, bytes]] = {
    **{case: urlencode({b"": text})[1:].encode() for case, text in TEXT.items()},
    "a NUL": b"%00",
    "not UTF-8": b"%ff%fe",
    "a surrogate": b"%ed%a0%80",
    "half an escape": b"%4",
    "JSON": b"%7B%22trade_no%22%3A%7B%7D%7D",
    "deep JSON": b"[" * 9_000,
    "twice": b"1&%(name)s=2",
    "a name alone": b"&%(name)s",
}
IN_XML: Final[Mapping[str, bytes]] = {
    **TEXT,
    "a NUL": b"&#0;",
    "a surrogate": b"&#xD800;",
    "an entity": b"&e;",
    "not UTF-8": b"\xff",
    "character data": b"<![CDATA[<a>]]>",
    "deep": b"<a>" * DEEP + b"</a>" * DEEP,
    "an array": b'<item type="array"><a>1</a><a/></item>',
    "a wrong array": b'<item type="array">text</item>',
    "numbers": b'<item type="integer">x</item>',
    "many digits": b'<item type="integer">' + b"9" * 5_000 + b"</item>",
    "a bad time": b'<item type="datetime">9999-99-99T00:00:00Z</item>',
    "a bad boolean": b'<item type="boolean">perhaps</item>',
    "nil": b'<item nil="true"/>',
    "twice": b"<a>1</a><a>2</a>",
    "cut off": b"</",
    "a comment": b"<!-- -->",
}
WHOLE: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    **{f"JSON {case}": text for case, text in IN_JSON.items() if b"%(name)" not in text},
    **{f"form {case}": b"id=" + text for case, text in IN_FORMS.items() if b"%(name)" not in text},
    **{f"XML {case}": b"<notification>" + text + b"</notification>" for case, text in IN_XML.items()},
}
"""In the place of the whole body."""
MARK: Final = "oddoddodd"
Wrap: TypeAlias = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Body:
    """What is to be signed."""

    case: str
    body: bytes
    beside: Mapping[str, str]
    """Headers that go along."""


def odd_bodies(one: Account, what: str, now: float) -> Iterator[Body]:
    """All that can be made of one sample."""
    payload = one.payload(what, now=now)
    beside = headers_in(payload)
    body = one.source.provider.render({name: part for name, part in payload.items() if name != HEADERS}, now)
    kinds = {"{": _json_bodies, "<": _xml_bodies}
    for case, odd in kinds.get(chr(body[0]), _form_bodies)(one, payload, body):
        yield Body(f"{what}: {case}", odd, beside)
    for name in beside:
        for case, text in TEXT.items():
            yield Body(f"{what}: header {name} {case}", body, {**beside, name: text.decode()})
    for case, odd in WHOLE.items():
        yield Body(f"{what}: {case}", odd, beside)


def odd_documents(body: bytes) -> Iterator[tuple[str, bytes]]:
    """A JSON body with each of its members odd in each way; nothing where it is no JSON."""
    if body.startswith(b"{"):
        yield from _odd_members(json.loads(body), lambda text: text)


def _json_bodies(one: Account, payload: Mapping[str, object], body: bytes) -> Iterator[tuple[str, bytes]]:
    yield from odd_documents(body)
    key = one.settings.get("api_v3_key")
    if key is not None:
        yield from _odd_members(payload["resource"], lambda text: encrypted(str(key), text))


def _odd_members(document: object, wrap: Wrap) -> Iterator[tuple[str, bytes]]:
    for way in ways(document):
        marked = json.dumps(with_member(document, way, MARK), ensure_ascii=False).encode()
        for case, text in IN_JSON.items():
            told = text.replace(b"%(name)s", str(way[-1]).encode())
            yield f"{'.'.join(map(str, way))} {case}", wrap(marked.replace(b'"%b"' % MARK.encode(), told))
        yield f"{'.'.join(map(str, way))} is gone", wrap(json.dumps(_without(document, way)).encode())


def ways(part: object) -> Iterator[tuple[str | int, ...]]:
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for name, member in inner:
        yield (name,)
        yield from ((name, *way) for way in ways(member))


def with_member(part: object, way: tuple[str | int, ...], value: object) -> object:
    if not way:
        return value
    name, *rest = way
    if isinstance(part, dict):
        return {**part, name: with_member(part[name], tuple(rest), value)}
    assert isinstance(part, list)
    return [with_member(item, tuple(rest), value) if at == name else item for at, item in enumerate(part)]


def _without(part: object, way: tuple[str | int, ...]) -> object:
    name, *rest = way
    if isinstance(part, dict):
        if rest:
            return {**part, name: _without(part[name], tuple(rest))}
        return {other: member for other, member in part.items() if other != name}
    assert isinstance(part, list)
    return [
        _without(item, tuple(rest)) if rest and at == name else item
        for at, item in enumerate(part)
        if rest or at != name
    ]


def _form_bodies(_one: Account, _payload: Mapping[str, object], body: bytes) -> Iterator[tuple[str, bytes]]:
    pairs = [tuple(pair.partition(b"=")[::2]) for pair in body.split(b"&")]
    for at, (name, value) in enumerate(pairs):
        others = [b"%b=%b" % pair for number, pair in enumerate(pairs) if number != at]
        for case, text in IN_FORMS.items():
            yield f"{name.decode()} {case}", b"&".join([*others, name + b"=" + text.replace(b"%(name)s", name)])
            if text:
                yield (
                    f"{name.decode()} is called {case}",
                    b"&".join([*others, text.replace(b"%(name)s", name) + b"=" + value]),
                )
        yield f"{name.decode()} is gone", b"&".join(others)


_ELEMENT: Final = re.compile(rb">[^<>]+<")


def _xml_bodies(_one: Account, _payload: Mapping[str, object], body: bytes) -> Iterator[tuple[str, bytes]]:
    for number, element in enumerate(_ELEMENT.finditer(body)):
        for case, text in IN_XML.items():
            yield f"text {number} {case}", body[: element.start() + 1] + text + body[element.end() - 1 :]
