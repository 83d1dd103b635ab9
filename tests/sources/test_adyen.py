"""What is special about Adyen: batches whose items are signed one by one, of each only eight members, unescaped."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping

import pytest

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import Provider
from tests.sources.conftest import NOW, provider_with

KEY, OLD, STRANGE = "1" * 64, "2" * 64, "3" * 64
Members = dict[str, object]


def adyen(*keys: str, **settings: object) -> Provider:
    return provider_with({"provider": "adyen", "secrets": list(keys or (KEY,)), **settings})


def signature(text: bytes, key: str = KEY) -> str:
    return base64.b64encode(hmac.new(bytes.fromhex(key), text, hashlib.sha256).digest()).decode()


def text_of(members: Members) -> str:
    """What is signed of an item, put together by hand."""
    amount = members.get("amount", {})
    assert isinstance(amount, dict)
    names = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")
    last = (amount.get("value", ""), amount.get("currency", ""), members["eventCode"], members["success"])
    return ":".join(str(part) for part in (*(members.get(name, "") for name in names), *last))


def unsigned(name: str = "PSP1") -> Members:
    return {
        "pspReference": name,
        "merchantAccountCode": "Shop",
        "merchantReference": f"order-{name}",
        "amount": {"currency": "EUR", "value": 4200},
        "eventCode": "AUTHORISATION",
        "eventDate": "2025-10-09T10:53:20+02:00",
        "success": "true",
    }


def signed(members: Members, key: str = KEY) -> Members:
    return {**members, "additionalData": {"hmacSignature": signature(text_of(members).encode(), key)}}


def item(name: str = "PSP1", key: str = KEY, **changes: object) -> Members:
    """A signed item."""
    return signed({**unsigned(name), **changes}, key)


def batch(*items: object, live: object = "false") -> Callback:
    body = json.dumps(
        {"live": live, "notificationItems": [{"NotificationRequestItem": one} for one in items]}, indent=1
    )
    return Callback(method="POST", headers=[(b"content-type", b"application/json")], body=body.encode())


def facts(callback: Callback, provider: Provider | None = None) -> tuple[Fact, ...]:
    return (provider or adyen()).verify(callback, NOW).facts


def refusal(callback: Callback, provider: Provider | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        facts(callback, provider)
    return caught.value.reason


def test_one_event_for_each_item() -> None:
    sent = [item("PSP1"), item("PSP2", eventCode="REFUND", originalReference="PSP1"), item("PSP3", success="false")]
    found = facts(batch(*sent, live="true"))
    assert [(fact.external_id, fact.type, fact.entity_id) for fact in found] == [
        ("PSP1:AUTHORISATION:true", "AUTHORISATION", "PSP1"),
        ("PSP2:REFUND:true", "REFUND", "PSP1"),
        ("PSP3:AUTHORISATION:false", "AUTHORISATION", "PSP3"),
    ]
    assert {(fact.livemode, fact.trust, fact.key_time, fact.fingerprint) for fact in found} == {
        (True, "partial", 0, None)
    }
    body = batch(*sent, live="true").body
    assert all(fact.body is not None and fact.body in body for fact in found), "the very bytes of the item"
    assert [adyen().content(fact.body or b"") for fact in found] == sent


GENUINE: Mapping[str, Members] = {
    "an amount of zero": {"amount": {"currency": "EUR", "value": 0}},
    "a negative amount": {"amount": {"currency": "EUR", "value": -5}},
    "an amount of 2^63": {"amount": {"currency": "EUR", "value": 2**63}},
    "an amount in quotes": {"amount": {"currency": "EUR", "value": "0"}},
    "no amount": {"amount": {}},
    "backslashes": {"merchantReference": "\\\\slashes\\"},
    "colons in the reference": {"merchantReference": "a:b::c:"},
    "white space": {"merchantReference": " x\t"},
    "letters of all kinds": {"merchantReference": "зака́з-№1-ü"},
}


@pytest.mark.parametrize("case", GENUINE)
def test_what_is_signed_as_it_stands(case: str) -> None:
    (fact,) = facts(batch(signed({**unsigned(), **GENUINE[case]})))
    assert fact.odd is None


BAD: Mapping[str, tuple[Callable[[Members], object], str]] = {
    "unsigned": (lambda i: {**i, "additionalData": {}}, "signature_missing"),
    "no additional data": (lambda i: {**i, "additionalData": None}, "signature_missing"),
    "an empty signature": (lambda i: {**i, "additionalData": {"hmacSignature": ""}}, "signature_missing"),
    "a signature that is a list": (lambda i: {**i, "additionalData": {"hmacSignature": [1]}}, "signature_missing"),
    "not ASCII": (lambda i: {**i, "additionalData": {"hmacSignature": "é"}}, "signature_malformed"),
    "of a stranger": (lambda _: item("PSP2", STRANGE), "signature_mismatch"),
    "amount changed": (lambda i: {**i, "amount": {"currency": "EUR", "value": 1}}, "signature_mismatch"),
    "outcome changed": (lambda i: {**i, "success": "false"}, "signature_mismatch"),
    "no outcome": (lambda i: {**i, "success": None}, "item_malformed"),
    "an outcome that is none": (lambda _: item("PSP2", success="maybe"), "item_malformed"),
    "a fraction": (lambda _: item("PSP2", amount={"currency": "EUR", "value": 1.5}), "item_malformed"),
    "a truth for an amount": (lambda _: item("PSP2", amount={"currency": "EUR", "value": True}), "item_malformed"),
    "a list for an amount": (lambda i: {**i, "amount": [4200, "EUR"]}, "signature_mismatch"),
    "a number for a name": (lambda i: {**i, "pspReference": 2}, "item_malformed"),
    "no item at all": (lambda _: None, "item_malformed"),
    "text for an item": (lambda _: "PSP2", "item_malformed"),
}


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("case", BAD)
def test_one_bad_item_and_all_are_refused(case: str, place: int) -> None:
    change, reason = BAD[case]
    items: list[object] = [item("PSP1"), item("PSP3")]
    items.insert(place, change(item("PSP2")))
    assert refusal(batch(*items)) == reason


def test_borders_between_members_cannot_be_moved() -> None:
    """One signature fits several items where nothing is escaped; only one of them is Adyen's."""
    genuine = item("PSP1", merchantReference="order:7")
    moved = {**genuine, "pspReference": "PSP1:", "originalReference": "Shop", "merchantAccountCode": "order"}
    moved["merchantReference"] = "7"
    assert text_of(moved) == text_of(genuine), "the signature does fit"
    assert facts(batch(genuine))
    assert refusal(batch(moved)) == "item_malformed"


def test_a_signature_of_an_item_is_none_of_a_body() -> None:
    text = text_of(item()).encode()
    header = (b"hmacsignature", signature(text).encode())
    assert refusal(Callback(method="POST", headers=[header], body=text)) == "signature_reused"


def test_what_is_not_signed_is_not_in_the_key() -> None:
    again = {**item(), "reason": "changed", "eventDate": "2031-01-01T00:00:00Z", "operations": []}
    (one,), (other,) = facts(batch(item())), facts(batch(again))
    assert (one.external_id, one.key_time, one.fingerprint) == (other.external_id, other.key_time, other.fingerprint)


ODD: Mapping[str, tuple[Members, str]] = {
    "a NUL": ({"merchantReference": "a\0b"}, "json_nul"),
    "no reference": ({"pspReference": ""}, "id_missing"),
    "a long reference": ({"pspReference": "p" * 600}, "id_invalid"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_item_is_genuine_and_kept_by_itself(case: str) -> None:
    changes, reason = ODD[case]
    first = signed({**unsigned(), **changes})
    odd, fine = facts(batch(first, item("PSP2")))
    assert (odd.odd, fine.odd) == (reason, None)
    assert odd.body == json.dumps(first, indent=1).replace("\n", "\n   ").encode()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"notificationItems": []}', b'{"notificationItems": 1}', b"\xff"]
)
def test_what_is_no_batch_and_has_no_header(body: bytes) -> None:
    assert refusal(Callback(method="POST", headers=[], body=body)) == "signature_missing"


def test_a_queued_item_has_the_signature_of_the_old_key() -> None:
    both = adyen(KEY, OLD)
    assert both.verify(batch(item("PSP1")), NOW).secret == 0
    assert both.verify(batch(item("PSP1"), item("PSP2", OLD), item("PSP3")), NOW).secret == 1, "it is still needed"


def test_a_platform_notification_is_signed_whole() -> None:
    body = b'{"type": "balancePlatform.transfer.updated", "environment": "live", "data": {"id": "T1"}, "createdAt": '
    body += b'"2025-10-09T08:53:20Z"}'
    header = (b"hmacsignature", signature(body).encode())
    (fact,) = facts(Callback(method="POST", headers=[header], body=body))
    assert (fact.type, fact.entity_id, fact.livemode, fact.trust, fact.odd) == (
        "balancePlatform.transfer.updated",
        "T1",
        True,
        "signed",
        None,
    )
    assert fact.occurred_at is not None
    assert refusal(Callback(method="POST", headers=[header], body=body + b" ")) == "signature_mismatch"
    assert refusal(Callback(method="POST", headers=[], body=body)) == "signature_missing"


def test_a_header_that_is_wrong_is_not_made_good_by_items() -> None:
    callback = batch(item())
    wrong = [*callback.headers, (b"hmacsignature", signature(b"other").encode())]
    assert refusal(Callback(method="POST", headers=wrong, body=callback.body)) == "signature_mismatch"


@pytest.mark.parametrize(
    "key", ["", "1" * 63, "1" * 66, "z" * 64, " " + "1" * 64, "1" * 30 + "  " + "1" * 32, "é" * 64]
)
def test_a_key_is_64_hexadecimal_digits(key: str) -> None:
    with pytest.raises(SettingsError, match=r"^sources\.adyen\.secrets|^secrets\[0\]: "):
        adyen(key)


def test_the_answer_is_the_accounts() -> None:
    assert (adyen().acknowledgement().status, adyen().acknowledgement().body) == (202, b"")
    old = adyen(answer="accepted").acknowledgement()
    assert (old.status, old.body, old.content_type) == (200, b"[accepted]", "text/plain")
    with pytest.raises(SettingsError, match=r"^answer: is one of status, accepted$"):
        adyen(answer="yes")
