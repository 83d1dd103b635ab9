"""Razorpay's SDK and we agree on every secret, signature and body, but for a body that is no text."""

import importlib
import json

from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import Provider
from tests.sources.conftest import NOW, as_callback, provider_with
from tests.sources.oracles.tampering import CHANGES, JSON, MODEST, Change

razorpay = importlib.import_module("razorpay")  # it has no types
errors = importlib.import_module("razorpay.errors")
SECRETS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=80)


def account(secret: str) -> Provider:
    return provider_with({"provider": "razorpay", "secrets": [secret]})


def ours(secret: str, signature: str, body: bytes) -> bool:
    headers = [(b"x-razorpay-signature", signature.encode()), (b"x-razorpay-event-id", b"e")]
    try:
        return bool(account(secret).verify(Callback(method="POST", headers=headers, body=body), NOW).facts)
    except VerificationError:
        return False


def theirs(secret: str, signature: str, body: bytes) -> bool:
    try:
        return bool(razorpay.Utility().verify_webhook_signature(body.decode(), signature, secret))
    except (errors.SignatureVerificationError, TypeError, UnicodeDecodeError):  # the latter for what is no text
        return False


def signed(secret: str, body: bytes) -> str:
    return dict(as_callback(account(secret).seal(body, NOW)).headers)[b"x-razorpay-signature"].decode()


@MODEST
@given(secrets=st.tuples(SECRETS, SECRETS), content=JSON, change=CHANGES)
def test_every_verdict(secrets: tuple[str, str], content: dict[str, object], change: Change) -> None:
    written = json.dumps(content, ensure_ascii=False).encode()
    for secret in secrets:
        real = signed(secret, written)
        for body, signature in (change(written, real), (written, real)):
            found = ours(secrets[0], signature, body)
            assert found == theirs(secrets[0], signature, body)
            assert found == ((body, signature, secret) == (written, real, secrets[0]))


def test_a_body_that_is_no_text_is_genuine_if_it_is_signed() -> None:
    """A difference: they take text alone. Here it is odd and goes to quarantine, since nobody else can sign it."""
    assert ours("secret", signed("secret", b"\xff"), b"\xff")
    assert not theirs("secret", signed("secret", b"\xff"), b"\xff")
