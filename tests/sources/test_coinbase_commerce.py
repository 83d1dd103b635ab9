"""Hook0's signatures, with which Coinbase's later products send: which of two counts, and what the key is made of."""

import hashlib
import hmac
import json
from collections.abc import Mapping

import pytest

from receiver.errors import VerificationError
from receiver.events import Callback, Fact
from receiver.sources.providers.coinbase_commerce import CoinbaseCommerce

NOW = 1_800_000_000
SECRET = "made-up"
BODY = json.dumps({"id": "pl_1", "eventType": "payment_link.payment.success", "updatedAt": "2027-01-15T08:00:00Z"})
OTHER = b"0" * 64


def code(*parts: str) -> bytes:
    return hmac.new(SECRET.encode(), ".".join(parts).encode(), hashlib.sha256).hexdigest().encode()


V0 = b"v0=" + code(str(NOW), BODY)
V1 = b"h=x-event-id x-event-type,v1=" + code(str(NOW), "x-event-id x-event-type", "ev1.paid", BODY)
TIME = b"t=%d," % NOW


def callback(header: bytes, event_id: bytes = b"ev1") -> Callback:
    headers = [(b"x-hook0-signature", header), (b"x-event-id", event_id), (b"x-event-type", b"paid")]
    return Callback(method="POST", headers=headers, body=BODY.encode())


def fact(header: bytes, event_id: bytes = b"ev1", now: float = NOW) -> Fact:
    (found,) = CoinbaseCommerce({"secrets": SECRET}).verify(callback(header, event_id), now).facts
    return found


@pytest.mark.parametrize("header", [TIME + V1, TIME + b"v0=" + OTHER + b"," + V1, V1 + b"," + TIME.rstrip(b",")])
def test_a_signed_id_is_the_key(header: bytes) -> None:
    found = fact(header)
    assert (found.external_id, found.identity, found.entity_id) == ("ev1", None, "pl_1")
    assert found.type == "payment_link.payment.success"
    assert found.occurred_at is not None


def test_an_id_that_is_not_signed_is_none() -> None:
    once, forged = fact(TIME + V0), fact(TIME + V0, b"forged")
    assert once.identity is not None
    assert once.identity == forged.identity
    assert (once.external_id, forged.external_id) == ("ev1", "forged")


REFUSED: Mapping[str, tuple[bytes, str]] = {
    "nothing": (b"", "signature_missing"),
    "no code": (TIME + b"h=x-event-id", "signature_missing"),
    "no time": (V0, "timestamp_missing"),
    "a wrong v1 beside a right v0": (TIME + V0 + b",v1=" + OTHER, "signature_mismatch"),
    "two v1": (TIME + V1 + b",v1=" + OTHER, "signature_malformed"),
    "two times": (TIME + TIME + V0, "signature_malformed"),
    "a header that is not there": (TIME + b"h=x-event-id x-missing,v1=" + OTHER, "header_missing"),
    "33 headers": (TIME + b"h=" + b"x " * 33 + b",v1=" + OTHER, "signature_malformed"),
    "capital digits": (TIME + V0.upper().replace(b"V0", b"v0"), "signature_mismatch"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    header, reason = REFUSED[case]
    with pytest.raises(VerificationError) as caught:
        fact(header)
    assert caught.value.reason == reason


@pytest.mark.parametrize("header", [TIME + V0, TIME + V1])
@pytest.mark.parametrize(("apart", "reason"), [(301, "timestamp_expired"), (-301, "timestamp_future")])
def test_both_ways_in_time(header: bytes, apart: int, reason: str) -> None:
    assert fact(header, now=NOW + 300 if apart > 0 else NOW - 300).odd is None
    with pytest.raises(VerificationError, match=reason):
        fact(header, now=NOW + apart)


def test_a_signed_header_cannot_be_changed() -> None:
    with pytest.raises(VerificationError, match="signature_mismatch"):
        fact(TIME + V1, b"ev2")


@pytest.mark.parametrize("header", [b"", b"t", b"h=" + b"x " * 40, b"v1=,v1=", b"\xff"])
def test_without_verification_anything_is_read(header: bytes) -> None:
    (found,) = CoinbaseCommerce({}).read(callback(header))
    assert header == b"" or found.external_id == "ev1"
