"""Callbacks that providers and their SDKs signed, with the verdict that each must get.

They are test data of others and no part of the project: `RECEIVER_VECTORS` names their folder.
"""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import PROVIDERS, Provider
from receiver.sources.providers.wechatpay import WeChatPay
from tests.sources.vector_keys import OTHER_KEY, options

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("RECEIVER_VECTORS") or ROOT.parent / "shared" / "vectors")
EXCEPTIONS: Mapping[str, str] = {
    "razorpay/checkout_payment_link": "the signature of a browser's return to the shop, which is no callback",
    "razorpay/checkout_subscription": "the same",
    "shopify/app_old_secret_rotation": "a form without a topic, which no webhook is: nobody could say what it means",
}
"""Vectors whose verdict is not ours, each with the reason."""
ALSO = {"hook0": "coinbase_commerce"}
"""Schemes that a provider takes beside its own."""
FILES = sorted(
    path
    for name in (*PROVIDERS, *ALSO)
    for path in FOLDER.glob(f"{name}/*.json")
    if f"{name}/{path.stem}" not in EXCEPTIONS
)


NONE = pytest.param(
    None, id="none", marks=pytest.mark.skip(f"no vectors in {FOLDER}; RECEIVER_VECTORS names the folder")
)
CASES = [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in FILES] or [NONE]


@pytest.mark.parametrize("path", CASES)
def test_vectors(path: Path) -> None:
    vector = json.loads(path.read_text(encoding="utf-8"))
    expected, keys = vector["expect"], vector["keys"]
    callback = arrived(vector["request"])
    name = ALSO.get(vector["provider"], vector["provider"])
    if expected.get("handshake"):
        check_handshake(PROVIDERS[name](options(name, keys)), callback, expected)
        return
    facts = verdict(name, keys, callback, vector["clock"])
    if expected["valid"] is None:
        return
    assert (facts is not None) is expected["valid"], expected.get("reason")
    if facts is None:
        return
    provider = PROVIDERS[name](options(name, keys))
    check_facts(facts, expected)
    check_answer(provider, expected)
    check_plaintext(provider, callback, expected)
    if OTHER_KEY in keys:
        assert verdict(name, {"secret": keys[OTHER_KEY]}, callback, vector["clock"]) == facts


def arrived(request: Mapping[str, object]) -> Callback:
    headers = request["headers"]
    assert isinstance(headers, list)
    return Callback(
        method=str(request["method"]),
        headers=[(name.lower().encode(), value.encode()) for name, value in headers],
        body=base64.b64decode(str(request.get("body_b64") or "")),
        query=str(request.get("query") or "").encode(),
    )


def verdict(name: str, keys: Mapping[str, object], callback: Callback, clock: float | None) -> tuple[Fact, ...] | None:
    """The facts, or None where the callback is refused, or must be sent again since the vector's key is wrong."""
    given = options(name, keys)
    try:
        facts = PROVIDERS[name](given).verify(callback, 0 if clock is None else clock).facts
    except (VerificationError, SettingsError):
        return None
    decryptable = "api_v3_key" in given or name != "wechatpay"
    return None if decryptable and any(fact.retry for fact in facts) else facts


def check_handshake(provider: Provider, callback: Callback, expected: Mapping[str, object]) -> None:
    answer = provider.challenge(callback.query)
    assert (answer is not None) is expected["valid"]
    assert answer is None or answer.body.decode() == expected["response_body"]


def check_facts(facts: tuple[Fact, ...], expected: Mapping[str, object]) -> None:
    if expected.get("parse_error"):
        assert all(fact.odd for fact in facts), "genuine, and not to be read"
        return
    for fact, wanted in zip(facts, items_of(expected), strict=True):
        check_fact(fact, wanted)


def items_of(expected: Mapping[str, object]) -> list[Mapping[str, object]]:
    """What each event of a batch should be."""
    items, ids, types = expected.get("items"), expected.get("event_ids"), expected.get("event_types")
    if isinstance(items, list):
        return items
    if isinstance(ids, list) and isinstance(types, list):
        return [{"event_id": id_, "event_type": type_} for id_, type_ in zip(ids, types, strict=True)]
    return [expected]


def check_fact(fact: Fact, expected: Mapping[str, object]) -> None:
    found = {"event_type": fact.type, "entity_id": fact.entity_id, "livemode": fact.livemode}
    # Null says that the message has none of its own; what stands in for it is ours to say.
    wanted = {name: expected[name] for name in found if expected.get(name) is not None}
    if "entity_id" in wanted:
        wanted["entity_id"] = str(wanted["entity_id"])
    assert {name: found[name] for name in wanted} == wanted
    assert fact.odd or fact.external_id, "without an id it cannot be handled"
    key, own = expected.get("dedupe_key"), expected.get("event_id")
    if isinstance(key, str) and " " not in key:  # else it says in words what a key may be made of
        assert fact.external_id == key
    elif own is not None:
        assert fact.external_id == own
    if "bt_payload_sha256" in expected:
        assert fact.external_id == f"sha256:{expected['bt_payload_sha256']}"


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
