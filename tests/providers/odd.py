"""What is genuine and odd, for each provider in the kind of body that it writes, as its class renders one."""

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import documents
from receiver.sources.documents import UnreadableError
from tests.providers.accounts import UNIQUE, Account, arrived

DEEP = 200_000
LONG = "e" * 9_000

BODIES: Mapping[str, tuple[bytes, str]] = {
    "invalid": (b'{"id":"evt_1",', "json_invalid"),
    "empty": (b"", "body_empty"),
    "duplicate keys": (b'{"id":"a","id":"b"}', "json_duplicate_key"),
    "NaN": (b'{"id":"a","amount":NaN}', "json_invalid"),
    "Infinity": (b'{"id":"a","amount":-Infinity}', "json_invalid"),
    "an escaped NUL": (rb'{"id":"a","note":"x\u0000y"}', "json_nul"),
    "a lone surrogate": (rb'{"id":"a","note":"\ud800"}', "json_invalid"),
    "arrays 200,000 deep": (b'{"id":"a","data":' + b"[" * DEEP + b"]" * DEEP + b"}", "json_invalid"),
    "objects 100,000 deep": (b'{"a":' * (DEEP // 2) + b"1" + b"}" * (DEEP // 2), "json_invalid"),
    "5,000 digits": (b'{"id":"a","amount":' + b"1" * 5_000 + b"}", "json_invalid"),
    "UTF-16": ('{"id":"a"}'.encode("utf-16"), "json_invalid"),
    "a byte-order mark": (b'\xef\xbb\xbf{"id":"a"}', "json_invalid"),
    "an array on top": (b'[{"id":"a"}]', "json_not_object"),
    "not UTF-8": (b'{"id":"a","note":"\xff"}', "json_invalid"),
}
"""In JSON, each with the reason that it must be kept aside for."""
XML: Mapping[str, bytes] = {
    "empty": b"",
    "no XML": b"hello",
    "cut off": b"<notification><kind>check</kind>",
    "another root": b"<other><kind>check</kind></other>",
    "two documents": b"<notification/><notification/>",
    "an entity": b'<!DOCTYPE notification [<!ENTITY e "x">]><notification><kind>&e;</kind></notification>',
    "20,000 deep": b"<notification>" + b"<a>" * 20_000 + b"</a>" * 20_000 + b"</notification>",
    "not UTF-8": b"<notification><kind>\xff</kind></notification>",
    "UTF-16": "<notification><kind>check</kind></notification>".encode("utf-16"),
    "a type of 9 KB": f"<notification><kind>{LONG}</kind></notification>".encode(),
}
FORMS: Mapping[str, bytes] = {
    "no id": b"note=x",
    "not UTF-8": b"note=%ff%fe",
    "a surrogate": b"note=%ed%a0%80",
    "a NUL": b"note=a%00b",
    "UTF-16": urlencode({"note": "ab".encode("utf-16")}).encode(),
    "an unknown charset": b"charset=klingon&encoding=klingon",
}
NO_ID = "an id that is null"
IDS: Mapping[str, object] = {
    "an id of 9 KB": LONG,
    "a NUL in the id": "evt\0",
    "an id that is an array": ["evt_1"],
    "an id that is an object": {"id": "evt_1"},
    NO_ID: None,
    "an id that is true": True,
    "an empty id": "",
}
"""What may stand where the event's id belongs, in a body of JSON."""


@dataclass(frozen=True)
class Odd:
    """A genuine callback that cannot be handled."""

    callback: Callback
    reason: str | None = None
    """What it must be kept aside for; None: any reason."""


def odd_callbacks(one: Account) -> dict[str, Odd]:
    """All that the provider can sign."""
    found: dict[str, Odd] = {}
    for case, (body, reason) in _bodies(one).items():
        try:
            found[case] = Odd(one.sealed(body), reason)
        except UnreadableError:
            continue  # no form, so there is nowhere to put a signature
    found |= {case: Odd(callback) for case, callback in _identified(one)}
    if _is_without_id(one, found.get(NO_ID)):
        del found[NO_ID]
    return found


def is_signed(one: Account, callback: Callback) -> bool:
    """Whether it carries a signature. Where that stands in the body, a body that is no document carries none."""
    if one.kind.signature_header is not None or not one.kind.signature_member:
        return True
    try:
        one.source.verify(callback, time.time())
    except VerificationError:
        return False
    return True


def _is_without_id(one: Account, odd: Odd | None) -> bool:
    """Whether some of the provider's events have no id, so that an id is made for them out of what they say."""
    if odd is None or not is_signed(one, odd.callback):
        return False
    (fact, *_) = one.source.verify(odd.callback, time.time()).facts
    return fact.odd is None and str(fact.external_id).startswith(documents.derived_id(b"")[:7])


def _bodies(one: Account) -> Mapping[str, tuple[bytes, str | None]]:
    first = _first(one)
    if first == "{":
        return BODIES
    return {case: (body, None) for case, body in (XML if first == "<" else FORMS).items()}


def _first(one: Account) -> str:
    """The first character of the bodies that the provider writes: it tells JSON, XML and forms apart."""
    return chr(one.source.provider.render({"note": "x"}, 0)[0])


def _identified(one: Account) -> Iterator[tuple[str, Callback]]:
    """Callbacks with an odd id, where it is read from one place: the event's own, or that of the thing in its stead."""
    now = time.time()
    payload, own = one.payload(now=now), one.kind.sample_id(UNIQUE, int(now))
    good = arrived(one.source.sign(payload, now))
    (fact, *_) = one.source.verify(good, now).facts
    known = (name for name in (own, fact.entity_id or own) if _holds(payload, name) and name in str(fact.external_id))
    for id_ in itertools.islice(known, 1):
        in_json = _first(one) == "{" and id_.encode() not in b" ".join(value for _, value in good.headers)
        for case, value in IDS.items():
            if in_json or value == LONG:  # headers and forms hold nothing but text
                changed = {name: _with_id(part, id_, value) for name, part in payload.items()}
                yield case, arrived(one.source.sign(changed, now))


def _holds(part: object, id_: str) -> bool:
    if isinstance(part, Mapping):
        return any(_holds(inner, id_) for inner in part.values())
    return any(_holds(inner, id_) for inner in part) if isinstance(part, list) else part == id_


def _with_id(part: object, id_: str, value: object) -> object:
    if isinstance(part, Mapping):
        return {name: _with_id(inner, id_, value) for name, inner in part.items()}
    if isinstance(part, list):
        return [_with_id(inner, id_, value) for inner in part]
    return value if part == id_ else part
