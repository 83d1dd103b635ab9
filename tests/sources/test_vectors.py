"""Every conformance vector through the verifier: verdict, id, type, items, acknowledgement, plaintext.

Over HTTP they are sent by `tests/providers/test_vectors_refused.py` and `test_vectors_taken.py`.
"""

import json
from collections.abc import Mapping

import pytest

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import PROVIDERS, Provider
from receiver.sources.providers.wechatpay import WeChatPay
from tests.sources.vector_exceptions import CONSTRUCTED, EXCEPTIONS, UNDECIDED
from tests.sources.vector_keys import OTHER_KEY, options
from tests.sources.vectors import MISSING, Vector, cases, external_id, vectors


@pytest.mark.parametrize("vector", cases())
def test_vectors(vector: Vector) -> None:
    expected, keys, name = vector.expected, vector.keys, vector.provider
    if expected.get("handshake"):
        check_handshake(PROVIDERS[name](options(name, keys)), vector.callback, expected)
        return
    facts = verdict(vector, keys)
    if expected["valid"] is None:
        return
    exempt = EXCEPTIONS.get(vector.id)
    refused = exempt is not None and exempt.status == 401
    assert (facts is not None) is (expected["valid"] and not refused), expected.get("reason")
    if facts is None:
        return
    provider = PROVIDERS[name](options(name, keys))
    check_facts(facts, vector)
    check_answer(provider, expected)
    check_plaintext(provider, vector.callback, expected)
    if OTHER_KEY in keys:
        assert verdict(vector, {"secret": keys[OTHER_KEY]}) == facts


@pytest.mark.skipif(not vectors(), reason=MISSING)
def test_the_tables_name_what_the_vectors_say() -> None:
    """So that a new vector of that kind must be explained, and one that is gone is forgotten."""
    by_id = {vector.id: vector for vector in vectors()}
    assert EXCEPTIONS.keys() <= by_id.keys()
    assert UNDECIDED.keys() == {vector.id for vector in vectors() if vector.expected["valid"] is None}
    assert CONSTRUCTED.keys() == {vector.id for vector in vectors() if vector.origin.startswith("constructed")}


def verdict(vector: Vector, keys: Mapping[str, object]) -> tuple[Fact, ...] | None:
    """The facts, or None where the callback is refused, or must be sent again since the vector's key is wrong."""
    given = options(vector.provider, keys)
    try:
        facts = PROVIDERS[vector.provider](given).verify(vector.callback, vector.clock).facts
    except (VerificationError, SettingsError):
        return None
    decryptable = "api_v3_key" in given or vector.provider != "wechatpay"
    return None if decryptable and any(fact.retry for fact in facts) else facts


def check_handshake(provider: Provider, callback: Callback, expected: Mapping[str, object]) -> None:
    answer = provider.challenge(callback.query)
    assert (answer is not None) is expected["valid"]
    assert answer is None or answer.body.decode() == expected["response_body"]


def check_facts(facts: tuple[Fact, ...], vector: Vector) -> None:
    if vector.expected.get("parse_error"):
        assert all(fact.odd for fact in facts), "genuine, and not to be read"
        return
    for fact, wanted in zip(facts, vector.items, strict=True):
        check_fact(fact, wanted)


def check_fact(fact: Fact, expected: Mapping[str, object]) -> None:
    found = {"event_type": fact.type, "entity_id": fact.entity_id, "livemode": fact.livemode}
    # Null says that the message has none of its own; what stands in for it is ours to say.
    wanted = {name: expected[name] for name in found if expected.get(name) is not None}
    if "entity_id" in wanted:
        wanted["entity_id"] = str(wanted["entity_id"])
    assert {name: found[name] for name in wanted} == wanted
    assert fact.odd or fact.external_id, "without an id it cannot be handled"
    assert external_id(expected) in {None, fact.external_id}


def check_answer(provider: Provider, expected: Mapping[str, object]) -> None:
    answer = expected.get("ack")
    if isinstance(answer, Mapping) and "legacy_body" not in answer:
        statuses = answer["status"] if isinstance(answer["status"], list) else [answer["status"]]
        assert provider.success.status in statuses
        assert provider.success.body.decode() == (answer.get("body") or "")


def check_plaintext(provider: Provider, callback: Callback, expected: Mapping[str, object]) -> None:
    if isinstance(provider, WeChatPay) and any(name.startswith("plaintext") for name in expected):
        text = provider.plaintext(json.loads(callback.body)).decode()
        assert text == expected.get("plaintext", text)
        assert text.startswith(str(expected.get("plaintext_startswith", "")))
