"""What is special about Braintree: signed forms with several pairs, XML inside, no id, and a challenge that signs."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import Provider
from tests.sources.conftest import NOW, provider_with

PUBLIC, PRIVATE = "public1", "private1"
XML = b"""<notification>
  <timestamp type="datetime">2025-10-09T08:53:20Z</timestamp><kind>%b</kind><subject>%b</subject>
</notification>"""
SETTLED = XML % (b"transaction_settled", b"<transaction><id>t1</id></transaction>")


def braintree(**keys: str) -> Provider:
    return provider_with({"provider": "braintree", "keys": keys or {PUBLIC: PRIVATE}})


def signature(payload: bytes, private: str = PRIVATE) -> str:
    return hmac.new(hashlib.sha1(private.encode()).digest(), payload, hashlib.sha1).hexdigest()


def sent(payload: bytes, pairs: str | None = None) -> Callback:
    """The payload under these pairs; without any, under the right one."""
    form = {"bt_signature": pairs or f"{PUBLIC}|{signature(payload)}", "bt_payload": payload}
    return Callback(method="POST", headers=[], body=urlencode(form).encode())


def fact_of(callback: Callback, provider: Provider | None = None) -> Fact:
    (fact,) = (provider or braintree()).verify(callback, NOW).facts
    return fact


def refusal(callback: Callback) -> str:
    with pytest.raises(VerificationError) as caught:
        braintree().verify(callback, NOW)
    return caught.value.reason


PAYLOAD = base64.encodebytes(SETTLED)
GOOD = f"{PUBLIC}|{signature(PAYLOAD)}"


def test_a_notification() -> None:
    fact = fact_of(sent(PAYLOAD))
    assert (fact.type, fact.entity_id, fact.odd) == ("transaction_settled", "t1", None)
    assert (fact.key_time, fact.external_id) == (1_760_000_000, "sha256:" + hashlib.sha256(PAYLOAD).hexdigest())
    assert braintree().content(sent(PAYLOAD).body) == {
        "timestamp": "2025-10-09T08:53:20Z",
        "kind": "transaction_settled",
        "subject": {"transaction": {"id": "t1"}},
    }


def test_a_lost_newline_makes_no_second_event() -> None:
    """Both spellings verify under one signature."""
    assert PAYLOAD.endswith(b"\n")
    assert fact_of(sent(PAYLOAD[:-1], GOOD)) == fact_of(sent(PAYLOAD, GOOD))


PAIRS: Mapping[str, str] = {
    "ours alone": GOOD,
    "ours behind another": f"public2|{'0' * 40}&{GOOD}",
    "ours before another": f"{GOOD}&public2|{'0' * 40}",
    "an old one of ours before it": f"{PUBLIC}|{'0' * 40}&{GOOD}",
    "nonsense around": f"x&|&{GOOD}&&a|b|c",
}


@pytest.mark.parametrize("case", PAIRS)
def test_one_pair_is_enough(case: str) -> None:
    assert fact_of(sent(PAYLOAD, PAIRS[case])).odd is None


BAD: Mapping[str, tuple[str, str]] = {
    "under another public key": (GOOD.replace(PUBLIC, "public2"), "signature_mismatch"),
    "no public key": (GOOD.partition("|")[2], "signature_mismatch"),
    "in capitals": (GOOD.replace(GOOD[8:], GOOD[8:].upper()), "signature_mismatch"),
    "by another private key": (f"{PUBLIC}|{signature(PAYLOAD, 'private2')}", "signature_mismatch"),
    "of another payload": (f"{PUBLIC}|{signature(PAYLOAD + b'A')}", "signature_mismatch"),
    "cut": (GOOD[:-1], "signature_mismatch"),
    "not ASCII": (GOOD + "é", "signature_mismatch"),
    "20,000 of them": ("&".join([f"{PUBLIC}|{'0' * 40}"] * 20_000), "signature_malformed"),
}


@pytest.mark.parametrize("case", BAD)
def test_pairs_that_do_not_fit(case: str) -> None:
    pairs, reason = BAD[case]
    assert refusal(sent(PAYLOAD, pairs)) == reason


FORMS: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "signature_missing"),
    "no payload": (urlencode({"bt_signature": GOOD}).encode(), "signature_missing"),
    "no signature": (urlencode({"bt_payload": PAYLOAD}).encode(), "signature_missing"),
    "two payloads": (sent(PAYLOAD).body + b"&bt_payload=A", "form_duplicate_name"),
    "no form": (b"\xff\xfe", "form_malformed"),
}


@pytest.mark.parametrize("case", FORMS)
def test_forms_that_are_none(case: str) -> None:
    body, reason = FORMS[case]
    assert refusal(Callback(method="POST", headers=[], body=body)) == reason


def test_which_key_matched() -> None:
    both = braintree(public2="private2", public1=PRIVATE)
    assert both.verify(sent(PAYLOAD), NOW).secret == 1
    assert both.seal(SETTLED, NOW).body.count(b"%7C") == 2, "each key of the account signs"


@pytest.mark.parametrize("length", [20, 31, 32])
def test_a_challenge_cannot_be_sent_back_as_a_payload(length: int) -> None:
    """Everybody gets a signature of digits by asking; it must be good for nothing else."""
    digits = "0123456789abcdef0123456789abcdef"[:length]
    answer = braintree().challenge(f"bt_challenge={digits}".encode())
    assert answer is not None
    assert answer.body.decode() == f"{PUBLIC}|{signature(digits.encode())}"
    assert refusal(sent(digits.encode(), answer.body.decode())) == "signature_reused"


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"bt_challenge=",
        b"bt_challenge=0123456789abcdef012",
        b"bt_challenge=0123456789abcdef0123456789abcdef0",
        b"bt_challenge=0123456789ABCDEF0123",
        b"bt_challenge=0123456789abcdef0123%0A",
        b"bt_challenge=bad%20challenge",
        b"bt_challenge=0123456789abcdef0123&bt_challenge=0123456789abcdef0124",
        b"challenge=0123456789abcdef0123",
        b"\xff",
    ],
)
def test_what_is_no_challenge(query: bytes) -> None:
    assert braintree().challenge(query) is None


ODD: Mapping[str, tuple[bytes, str]] = {
    "no base64": (b"~invalid~\n", "payload_malformed"),
    "base64 that is cut": (PAYLOAD[:-3] + b"\n", "payload_malformed"),
    "nothing": (b"\n", "body_empty"),
    "no XML": (base64.encodebytes(b"hello"), "xml_invalid"),
    "entities": (base64.encodebytes(b'<!DOCTYPE a [<!ENTITY b "c">]>' + SETTLED), "xml_invalid"),
    "another root": (base64.encodebytes(b"<a><kind>x</kind></a>"), "xml_unexpected"),
    "text alone": (base64.encodebytes(b"<notification>x</notification>"), "xml_unexpected"),
    "two kinds": (base64.encodebytes(XML % (b"a</kind><kind>b", b"")), "type_invalid"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_genuine_and_odd(case: str) -> None:
    payload, reason = ODD[case]
    assert fact_of(sent(payload)).odd == reason


ENTITIES: Mapping[bytes, str | None] = {
    b"<dispute><id>d1</id><transaction><id>t1</id></transaction></dispute>": "d1",
    b"<transaction-review><transaction-id>t1</transaction-id></transaction-review>": "t1",
    b"<local-payment><payment-id>p1</payment-id></local-payment>": "p1",
    b"<api-error-response><x>y</x><merchant-account><id>m1</id></merchant-account></api-error-response>": "m1",
    b"<account-updater-daily-report><report-url>u</report-url></account-updater-daily-report>": None,
    b"<check type='boolean'>true</check>": None,
    b"": None,
}


@pytest.mark.parametrize("subject", ENTITIES)
def test_what_it_is_about(subject: bytes) -> None:
    fact = fact_of(sent(base64.encodebytes(XML % (b"some_kind", subject))))
    assert (fact.entity_id, fact.odd) == (ENTITIES[subject], None)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"a|b": "x"}, "keys: a public key stands"),
        ({"a": "x y"}, "keys.a: is empty, or has white space"),
        ({"a": "é"}, "keys.a: is empty, or has white space"),
    ],
)
def test_keys_that_are_none(keys: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match="^" + re.escape(message)):
        braintree(**keys)
