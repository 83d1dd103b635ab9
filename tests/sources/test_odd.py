"""What a provider did sign but cannot be handled is a fact with a reason, never an error and never a refusal."""

import json
from collections.abc import Mapping

import pytest

from receiver.events import Callback, Fact
from tests.sources.conftest import JSON_NAMES, NAMES, Kit, wechatpay_body, with_header

LONG = "e" * 9_000
DEEP = 200_000

BODIES: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "body_empty"),
    "blank": (b" \n", "json_invalid"),
    "no JSON": (b"hello", "json_invalid"),
    "cut off": (b'{"id":"evt_1","type":"a"', "json_invalid"),
    "two documents": (b'{"id":"a"}{"id":"b"}', "json_invalid"),
    "single quotes": (b"{'id':'a'}", "json_invalid"),
    "comment": (b'{"id":"a"/*x*/}', "json_invalid"),
    "NaN": (b'{"id":"a","amount":NaN}', "json_invalid"),
    "Infinity": (b'{"id":"a","amount":Infinity}', "json_invalid"),
    "-Infinity": (b'{"id":"a","amount":-Infinity}', "json_invalid"),
    "exponent past every Decimal": (b'{"id":"a","amount":1e99999999999999999999}', "json_invalid"),
    "duplicate id": (b'{"id":"a","id":"b"}', "json_duplicate_key"),
    "duplicate deep inside": (b'{"id":"a","data":{"object":{"id":"x","id":"y"}}}', "json_duplicate_key"),
    "duplicate through an escape": (rb'{"id":"a","\u0069d":"b"}', "json_duplicate_key"),
    "NUL in a value": (rb'{"id":"a","note":"x\u0000y"}', "json_nul"),
    "NUL in a name": (rb'{"id":"a","data":[{"x\u0000":1}]}', "json_nul"),
    "raw NUL": (b'{"id":"a\x00"}', "json_invalid"),
    "lone surrogate": (rb'{"id":"a","note":"\ud800"}', "json_invalid"),
    "surrogates in the wrong order": (rb'{"id":"a","note":"\udc00\ud800"}', "json_invalid"),
    "surrogate in UTF-8": (b'{"id":"a","note":"\xed\xa0\x80"}', "json_invalid"),
    "not UTF-8": (b'{"id":"a","note":"\xff"}', "json_invalid"),
    "overlong UTF-8": (b'{"id":"a","note":"\xc0\x80"}', "json_invalid"),
    "arrays 200,000 deep": (b'{"id":"a","data":' + b"[" * DEEP + b"]" * DEEP + b"}", "json_invalid"),
    "objects 200,000 deep": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "json_invalid"),
    "5,000 digits": (b'{"id":"a","amount":' + b"1" * 5_000 + b"}", "json_invalid"),
    "5,000 digits and a fraction": (b'{"id":"a","amount":' + b"1" * 5_000 + b".5}", "json_invalid"),
    "UTF-16": ('{"id":"a"}'.encode("utf-16"), "json_invalid"),
    "UTF-16 without mark": ('{"id":"a"}'.encode("utf-16-le"), "json_invalid"),
    "byte-order mark": (b'\xef\xbb\xbf{"id":"a"}', "json_invalid"),
    "array": (b'[{"id":"a"}]', "json_not_object"),
    "string": (b'"a"', "json_not_object"),
    "null": (b"null", "json_not_object"),
}


def check_odd(fact: Fact, reason: str) -> None:
    assert fact.odd == reason
    assert fact.external_id is None or fact.odd == "type_invalid"


@pytest.mark.parametrize("name", JSON_NAMES)
@pytest.mark.parametrize("case", BODIES)
def test_bodies(kits: Mapping[str, Kit], name: str, case: str) -> None:
    body, reason = BODIES[case]
    check_odd(kits[name].fact(kits[name].seal(body)), reason)


@pytest.mark.parametrize("case", BODIES)
def test_the_decrypted_resource(kits: Mapping[str, Kit], case: str) -> None:
    text, reason = BODIES[case]
    kit = kits["wechatpay"]
    fact = kit.fact(kit.seal(wechatpay_body(kit, text)))
    assert (fact.odd, fact.retry) == (f"resource_{reason}", False)
    assert fact.external_id == "EV-1", "an operator finds it by its id"


IDS: Mapping[str, tuple[object, str]] = {
    "empty": ("", "id_missing"),
    "null": (None, "id_invalid"),
    "array": (["evt_1"], "id_invalid"),
    "object": ({"id": "evt_1"}, "id_invalid"),
    "number": (17, "id_invalid"),
    "fraction": (1.5, "id_invalid"),
    "boolean": (True, "id_invalid"),
    "9 KB": (LONG, "id_invalid"),
    "513 bytes": ("e" * 513, "id_invalid"),
    "513 bytes in 171 characters": ("☃" * 171, "id_invalid"),
    "NUL": ("evt\0", "json_nul"),
}
MISSING = object()


def identified(kit: Kit, value: object, text: bytes = b"{}") -> Callback:
    """A callback with that id, or without any."""
    document = {} if value is MISSING else {"id": value}
    if kit.name == "wechatpay":
        whole = {**json.loads(wechatpay_body(kit, text)), **document}
        if value is MISSING:
            del whole["id"]
        return kit.seal(json.dumps(whole).encode())
    return kit.seal(json.dumps({"type": "a.b", **document}).encode())


@pytest.mark.parametrize("name", ["stripe", "wechatpay"])
@pytest.mark.parametrize("case", IDS)
def test_ids(kits: Mapping[str, Kit], name: str, case: str) -> None:
    value, reason = IDS[case]
    fact = kits[name].fact(identified(kits[name], value))
    check_odd(fact, reason)
    assert fact.external_id is None


@pytest.mark.parametrize("name", ["stripe", "wechatpay"])
def test_no_id_at_all(kits: Mapping[str, Kit], name: str) -> None:
    check_odd(kits[name].fact(identified(kits[name], MISSING)), "id_missing")


@pytest.mark.parametrize("name", ["stripe", "wechatpay"])
@pytest.mark.parametrize(
    "value", ["e" * 512, "☃" * 170, "evt_ünï", "evt_u\u0308ni\u0308", "'; DROP TABLE event; --", "${jndi:ldap://x}"]
)
def test_ids_that_are_unusual_but_fine(kits: Mapping[str, Kit], name: str, value: str) -> None:
    fact = kits[name].fact(identified(kits[name], value))
    assert (fact.external_id, fact.odd) == (value, None)


def test_nfc_and_nfd_stay_apart(kits: Mapping[str, Kit]) -> None:
    kit = kits["stripe"]
    one, other = (kit.fact(identified(kit, value)) for value in ("evt_\u00fc", "evt_u\u0308"))
    assert one.external_id != other.external_id


@pytest.mark.parametrize(("message", "reason"), [("m" * 513, "id_invalid"), ("m" * 512, None)])
def test_id_of_standard_webhooks(kits: Mapping[str, Kit], message: str, reason: str | None) -> None:
    kit = kits["standardwebhooks"]
    fact = kit.fact(kit.sent(id=message))
    assert (fact.odd, fact.external_id) == (reason, message if reason is None else None)


def test_id_that_is_not_ascii_without_verification(kits: Mapping[str, Kit]) -> None:
    kit = kits["standardwebhooks"]
    for value, reason in ((b"msg_\xff", "id_invalid"), (b"", "id_missing")):
        (fact,) = kit.provider.read(with_header(kit.sent(), b"webhook-id", value))
        assert (fact.odd, fact.external_id) == (reason, None)


TYPES: Mapping[str, tuple[object, str | None, str | None]] = {
    "null": (None, None, None),
    "empty": ("", None, None),
    "number": (5, None, "type_invalid"),
    "array": (["a"], None, "type_invalid"),
    "too long": (LONG, None, "type_invalid"),
    "unknown": ("never.heard.of", "never.heard.of", None),
}


@pytest.mark.parametrize("name", JSON_NAMES)
@pytest.mark.parametrize("case", TYPES)
def test_types(kits: Mapping[str, Kit], name: str, case: str) -> None:
    value, type_, reason = TYPES[case]
    kit = kits[name]
    member = "event_type" if name == "wechatpay" else "type"
    text = (
        wechatpay_body(kit, b"{}", **{member: value}) if name == "wechatpay" else json.dumps({"id": "a", member: value})
    )
    fact = kit.fact(kit.seal(text if isinstance(text, bytes) else text.encode()))
    assert (fact.type, fact.odd) == (type_, reason)
    assert fact.external_id is not None


ENTITIES: Mapping[str, object] = {
    "null": None,
    "number": 5,
    "array": ["x"],
    "object": {},
    "empty": "",
    "too long": "x" * 513,
    "boolean": True,
}


@pytest.mark.parametrize("name", JSON_NAMES)
@pytest.mark.parametrize("value", ENTITIES.values(), ids=ENTITIES)
def test_an_entity_that_is_none(kits: Mapping[str, Kit], name: str, value: object) -> None:
    """The event can be handled without: it just belongs to no lane."""
    kit = kits[name]
    bodies = {
        "stripe": json.dumps({"id": "a", "data": {"object": {"id": value}}, "related_object": value}).encode(),
        "standardwebhooks": json.dumps({"data": {"id": value}}).encode(),
        "wechatpay": wechatpay_body(kits["wechatpay"], json.dumps({"out_trade_no": value}).encode()),
    }
    fact = kit.fact(kit.seal(bodies[name]))
    assert (fact.entity_id, fact.odd) == (None, None)


@pytest.mark.parametrize("data", [None, [], "x", 5, {"object": None}, {"object": [{"id": "x"}]}])
def test_data_of_another_shape(kits: Mapping[str, Kit], data: object) -> None:
    kit = kits["stripe"]
    fact = kit.fact(kit.seal(json.dumps({"id": "a", "data": data}).encode()))
    assert (fact.external_id, fact.entity_id, fact.odd) == ("a", None, None)


@pytest.mark.parametrize(
    "created",
    [
        None,
        "x",
        -1,
        0,
        2**63,
        2**32,
        1.5,
        True,
        [],
        "2022-02-30T00:00:00Z",
        "2022-02-15T00:27:45",
        "0001-01-01T00:00:00+23:00",
        "9999-12-31T23:59:59-23:00",
    ],
)
def test_a_time_that_is_none(kits: Mapping[str, Kit], created: object) -> None:
    kit = kits["stripe"]
    fact = kit.fact(kit.seal(json.dumps({"id": "a", "created": created}).encode()))
    assert (fact.occurred_at, fact.key_time, fact.odd) == (None, 0, None)


@pytest.mark.parametrize(
    "amount",
    ["9223372036854775808", "12345678901234567890123", "-42", "0.1", "1e400", "1e-400", "-0", "1.10"],
)
@pytest.mark.parametrize("name", JSON_NAMES)
def test_amounts_are_exact(kits: Mapping[str, Kit], name: str, amount: str) -> None:
    kit = kits[name]
    text = b'{"id":"a","data":{"object":{"id":"b","amount":%b,"currency":"XXX"}}}' % amount.encode()
    callback = kit.seal(wechatpay_body(kit, text) if name == "wechatpay" else text)
    assert kit.fact(callback).odd is None
    content = kit.provider.content(callback.body)
    assert isinstance(content, dict)
    found = content["data"]["object"]["amount"]
    assert not isinstance(found, float)
    assert str(found) == {"1e400": "1E+400", "1e-400": "1E-400", "-0": "0"}.get(amount, amount)


def test_text_that_only_looks_like_a_nul(kits: Mapping[str, Kit]) -> None:
    kit = kits["stripe"]
    assert kit.fact(kit.seal(rb'{"id":"a","note":"C:\\u0000"}')).odd is None


@pytest.mark.parametrize("name", NAMES)
def test_without_verification_anything_is_read(kits: Mapping[str, Kit], name: str) -> None:
    """A source that says `verification = "none"` hands the reader what nobody signed."""
    for body in (b"", b"\xff", b"{}", b"[]", b"a=%ff&a=b", b'{"resource":{"ciphertext":{}}}'):
        (fact,) = kits[name].provider.read(Callback(method="POST", headers=[], body=body))
        assert fact.odd is not None
