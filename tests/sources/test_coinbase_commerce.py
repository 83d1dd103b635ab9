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


def callback(header: bytes, event_id: bytes = b"ev1", kind: bytes = b"paid") -> Callback:
    headers = [(b"x-hook0-signature", header), (b"x-event-id", event_id), (b"x-event-type", kind)]
    return Callback(method="POST", headers=headers, body=BODY.encode())


def fact(header: bytes, event_id: bytes = b"ev1", *, kind: bytes = b"paid", now: float = NOW) -> Fact:
    (found,) = CoinbaseCommerce({"secrets": SECRET}).verify(callback(header, event_id, kind), now).facts
    return found


@pytest.mark.parametrize("header", [TIME + V1, TIME + b"v0=" + OTHER + b"," + V1, V1 + b"," + TIME.rstrip(b",")])
def test_what_it_says(header: bytes) -> None:
    found = fact(header)
    assert (found.external_id, found.entity_id) == ("ev1", "pl_1")
    assert found.type == "payment_link.payment.success"
    assert found.occurred_at is not None


def test_the_body_is_the_key() -> None:
    """Not the id beside it: it is not signed, or is not once `v1` is left out, or a point in it is moved."""
    names = "x-event-id x-event-type"
    pointed = b"h=%b,v1=%b" % (names.encode(), code(str(NOW), names, "ev1.more.paid", BODY))
    both = [fact(TIME + V0 + b"," + V1), fact(TIME + V0), fact(TIME + V0, b"forged")]
    moved = [fact(TIME + pointed, b"ev1.more", kind=b"paid"), fact(TIME + pointed, b"ev1", kind=b"more.paid")]
    assert {found.identity for found in both + moved} == {fact(TIME + V1).identity}
    assert fact(TIME + V1).identity is not None


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
