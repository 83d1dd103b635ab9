"""Stripe's SDK and we agree on every secret, time, list of signatures and body, but for what is listed."""

import hmac
import json
from collections.abc import Mapping

import pytest
import stripe
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import Provider
from tests.sources.conftest import NOW, as_callback, provider_with
from tests.sources.oracles.tampering import CHANGES, JSON, MODEST, Change

SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=60).map("whsec_".__add__)
OTHER = "v1=" + "0" * 64


def endpoint(secret: str) -> Provider:
    return provider_with({"provider": "stripe", "secrets": [secret]})


def ours(secret: str, header: str, body: bytes) -> bool:
    callback = Callback(method="POST", headers=[(b"stripe-signature", header.encode())], body=body)
    try:
        return bool(endpoint(secret).verify(callback, NOW).facts)
    except VerificationError:
        return False


def theirs(secret: str, header: str, body: bytes) -> bool:
    try:
        with time_machine.travel(NOW, tick=False):
            tolerance = stripe.Webhook.DEFAULT_TOLERANCE
            return bool(stripe.WebhookSignature.verify_header(body, header, secret, tolerance))
    except (stripe.SignatureVerificationError, TypeError, UnicodeDecodeError):  # the others for what is no text
        return False


def signed(secret: str, body: bytes, sent: int = NOW) -> str:
    return str(stripe.WebhookSignature.generate_signature_header(body.decode(), secret, sent))


@MODEST
@given(
    secrets=st.tuples(SECRETS, SECRETS),
    apart=st.sampled_from([0, -300, 300, -301, -3600]),
    beside=st.sampled_from(["{}", "{}," + OTHER, OTHER + ",{}", "{},", "nothing,{}", "{},v0=0", "{},v2=0"]),
    content=JSON,
    change=CHANGES,
)
def test_every_verdict(
    secrets: tuple[str, str], apart: int, beside: str, content: dict[str, object], change: Change
) -> None:
    written = json.dumps(content, ensure_ascii=False).encode()
    for secret in secrets:
        real = signed(secret, written, NOW + apart)
        for body, header in (change(written, real), (written, real)):
            around = beside.format(header)
            found = ours(secrets[0], around, body)
            assert found == theirs(secrets[0], around, body)
            assert found == ((secret, body, header) == (secrets[0], written, real) and apart >= -300)


@MODEST
@given(secret=SECRETS, content=JSON)
def test_they_take_what_we_sign(secret: str, content: dict[str, object]) -> None:
    callback = as_callback(endpoint(secret).sign({"object": "event", **content}, NOW))
    assert theirs(secret, dict(callback.headers)[b"stripe-signature"].decode(), callback.body)


REAL = signed("whsec_1", b"{}")
TAKEN: Mapping[str, str] = {
    "a time to come": signed("whsec_1", b"{}", NOW + 301),
    "a time of next year": signed("whsec_1", b"{}", NOW + 365 * 86_400),
    "a second time": f"{REAL},t={NOW}",
    "something behind the signature": f"{REAL}=0",
    "a sign before the time": REAL.replace("t=", "t=+"),
    "a space before the time": REAL.replace("t=", "t= "),
    "lines in the time": REAL.replace("1760000000", "1_760_000_000"),
    "Arabic digits": REAL.replace("1760000000", "١٧٦٠٠٠٠٠٠٠"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_the_sdk_takes_what_stripe_does_not_send(case: str) -> None:
    """A difference: times to come, and what can be spelled in two ways, are refused here."""
    assert theirs("whsec_1", TAKEN[case], b"{}")
    assert not ours("whsec_1", TAKEN[case], b"{}")


@pytest.mark.parametrize("sent", [f"+{NOW}", f" {NOW}", "1_760_000_000"])
def test_times_are_digits_even_if_they_are_signed_as_they_are_spelled(sent: str) -> None:
    signature = hmac.new(b"whsec_1", f"{sent}.{{}}".encode(), "sha256").hexdigest()
    assert not ours("whsec_1", f"t={sent},v1={signature}", b"{}")


@pytest.mark.parametrize("scheme", ["v0", "v2", "V1", " v1"])
def test_no_other_scheme_counts(scheme: str) -> None:
    header = REAL.replace("v1", scheme)
    assert not ours("whsec_1", header, b"{}")
    assert not theirs("whsec_1", header, b"{}")


def test_a_body_that_is_no_text_is_genuine_if_it_is_signed() -> None:
    """A difference: they cannot decode it. Here it is odd and goes to quarantine."""
    header = dict(endpoint("whsec_1").seal(b"\xff", NOW).headers)["Stripe-Signature"]
    assert ours("whsec_1", header, b"\xff")
    assert not theirs("whsec_1", header, b"\xff")
