"""What is emitted comes back to its last digit, or is refused by name."""

import dataclasses
import datetime as dt
import enum
import math
import uuid
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver import EmitError, Receiver
from receiver.events import parse_exactly
from receiver.followups import follow_up
from receiver.followups.payload import MOST_BYTES, to_json
from receiver.storage.arrivals import Arrival

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers() | st.integers(10**50, 10**4299) | st.decimals(allow_nan=False, allow_infinity=False)
PAYLOADS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=25,
)


def shape(payload: object) -> object:
    """The payload with each number as its digits: `==` alone would not see that 1.50 has lost its zero."""
    match payload:
        case list():
            return [shape(item) for item in payload]
        case dict():
            return {key: shape(value) for key, value in payload.items()}
        case Decimal() if set(str(payload)) & set(".E"):
            return payload.as_tuple()
        case Decimal():
            return int(payload)  # nothing tells it from an integer
        case _:
            return payload


@given(PAYLOADS)
@example([Decimal("1E+400"), Decimal("-1E-400"), Decimal("1.0E+999999")])
def test_payload_comes_back_exactly(payload: object) -> None:
    assert shape(parse_exactly(to_json(payload))) == shape(payload)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_as_the_same_number(value: float) -> None:
    read = parse_exactly(to_json([value]))
    assert isinstance(read, list)
    assert float(read[0]) == value


class Size(enum.Enum):
    LARGE = "L"


@dataclasses.dataclass
class Line:
    sku: str
    price: Decimal


class Address(msgspec.Struct):
    city: str


UTC_NOON = dt.datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        ({"total": Decimal("12.50"), "count": 2**80}, b'{"count":1208925819614629174706176,"total":12.50}'),
        ({"at": UTC_NOON, "day": UTC_NOON.date()}, b'{"at":"2026-01-01T12:00:00.000005Z","day":"2026-01-01"}'),
        (uuid.UUID(int=7), b'"00000000-0000-0000-0000-000000000007"'),
        ({"kinds": {"b", "a", "c"}}, b'{"kinds":["a","b","c"]}'),
        ((Size.LARGE, None, True), b'["L",null,true]'),
        (Line("a", Decimal("1E+2")), b'{"price":1E+2,"sku":"a"}'),
        ({"to": Address("Köln")}, '{"to":{"city":"Köln"}}'.encode()),
        ("a\0b", b'"a\\u0000b"'),
        ({}, b"{}"),
    ],
)
def test_bytes(payload: object, body: bytes) -> None:
    assert to_json(payload) == body


def nested(levels: int) -> object:
    payload: object = 1
    for _ in range(levels):
        payload = [payload]
    return payload


def endless() -> object:
    payload: list[object] = []
    payload.append(payload)
    return payload


class Text(str):
    __slots__ = ()


PAYLOADS_REFUSED: dict[str, tuple[object, str]] = {
    "an object": ({"a": object()}, "emit_payload_type"),
    "a number as key": ({1: "a"}, "emit_payload_type"),
    "None as key": ({"a": {None: 1}}, "emit_payload_type"),
    "an enum as key": ({Size.LARGE: 1}, "emit_payload_type"),
    "a kind of text": ([Text("a")], "emit_payload_type"),
    "not a number": (math.nan, "emit_payload_number"),
    "infinite": ({"a": [1, math.inf]}, "emit_payload_number"),
    "infinite in a tuple": ({"a": (math.inf,)}, "emit_payload_number"),
    "decimal not a number": ({"a": [Decimal("NaN")]}, "emit_payload_number"),
    "decimal infinite": (Decimal("-Infinity"), "emit_payload_number"),
    "in a dataclass": (Line("a", Decimal("sNaN")), "emit_payload_number"),
    "an integer too long": (10**4300, "emit_payload_number"),
    "a decimal too long": (Decimal("1" * 4301), "emit_payload_number"),
    "a lone surrogate": ({"a": "\ud800"}, "emit_payload_text"),
    "a lone surrogate as key": ({"\udfff": 1}, "emit_payload_text"),
    "deep": (nested(250), "emit_payload_depth"),
    "very deep": (nested(100_000), "emit_payload_depth"),
    "endless": (endless(), "emit_payload_depth"),
    "large": ("x" * (MOST_BYTES - 1), "emit_payload_large"),
}


@pytest.mark.parametrize("name", PAYLOADS_REFUSED)
def test_payload_is_refused(name: str) -> None:
    payload, reason = PAYLOADS_REFUSED[name]
    with pytest.raises(EmitError, match=r"^payload: ") as refused:
        to_json(payload)
    assert refused.value.reason == reason


@pytest.mark.parametrize("payload", [nested(200), 10**4299, "x" * (MOST_BYTES - 2)], ids=["deep", "long", "large"])
def test_payload_at_the_limit_is_taken(payload: object) -> None:
    assert parse_exactly(to_json(payload)) == payload


def emitted(**given: Any) -> Arrival:
    arguments: dict[str, Any] = {"kind": "order.paid", "payload": {}, "key": "o_1", "entity_id": None}
    return follow_up(Receiver().handlers, **{**arguments, "occurred_at": None, **given})


ARGUMENTS_REFUSED: list[tuple[str, object, str]] = [
    ("kind", "", "emit_type"),
    ("kind", None, "emit_type"),
    ("kind", "order:paid", "emit_type"),
    ("kind", "order.*", "emit_type"),
    ("kind", "order paid", "emit_type"),
    ("kind", "order.paid\n", "emit_type"),
    ("kind", "a\0", "emit_type"),
    ("kind", "a" * 101, "emit_type"),
    ("key", "", "emit_key"),
    ("key", None, "emit_key"),
    ("key", 7, "emit_key"),
    ("key", "a\0", "emit_key"),
    ("key", "\ud800", "emit_key"),
    ("key", "é" * 257, "emit_key"),
    ("entity_id", "", "emit_entity"),
    ("entity_id", 7, "emit_entity"),
    ("entity_id", "a\0", "emit_entity"),
    ("entity_id", "\ud800", "emit_entity"),
    ("entity_id", "a" * 513, "emit_entity"),
    ("occurred_at", UTC_NOON.replace(tzinfo=None), "emit_time_naive"),
]


@pytest.mark.parametrize(("name", "value", "reason"), ARGUMENTS_REFUSED, ids=lambda each: repr(each)[:20])
def test_arguments_are_refused_by_name(name: str, value: object, reason: str) -> None:
    with pytest.raises(EmitError, match=f"^{name}: ") as refused:
        emitted(**{name: value})
    assert refused.value.reason == reason


def test_arguments_at_the_limit_are_taken() -> None:
    arrival = emitted(kind="a" * 100, key="é" * 256, entity_id="a" * 512, occurred_at=UTC_NOON)
    assert (arrival.type, arrival.entity_id, arrival.occurred_at) == ("a" * 100, "a" * 512, UTC_NOON)


SAME: dict[str, Any] = {"kind": "a", "key": "k", "payload": {"x": 1, "y": 2}, "entity_id": "e"}


@pytest.mark.parametrize(
    ("changed", "same_key", "same_fact"),
    [
        ({}, True, True),
        ({"payload": {"y": 2, "x": 1}}, True, True),
        ({"occurred_at": UTC_NOON}, True, True),
        ({"payload": {"x": 1, "y": 3}}, True, False),
        ({"payload": {"x": 1, "y": Decimal("2.0")}}, True, False),
        ({"entity_id": "f"}, True, False),
        ({"entity_id": None}, True, False),
        ({"key": "l"}, False, True),
        ({"kind": "b"}, False, True),
        ({"kind": "a.k", "key": "k"}, False, True),
    ],
)
def test_what_makes_a_duplicate(changed: dict[str, Any], same_key: bool, same_fact: bool) -> None:
    one, other = emitted(**SAME), emitted(**{**SAME, **changed})
    assert (one.key == other.key, one.fingerprint == other.fingerprint) == (same_key, same_fact)


def test_keys_are_those_of_earlier_releases() -> None:
    """One that is made another way is a duplicate that nobody notices."""
    arrival = emitted(**SAME)
    assert arrival.external_id == "a:k"
    assert arrival.key.hex() == "000000006830a778ea06e2caf098a526cb2f6b58"
    assert (arrival.fingerprint or b"").hex() == "220eca3e1e21c20b618813eade6c7d0e"
