"""Coinbase Commerce's SDK and we agree on every secret, signature and body, where it can read the body at all."""

import importlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import Provider
from tests.sources.conftest import NOW, as_callback, provider_with
from tests.sources.oracles.tampering import CHANGES, JSON, MODEST, Change

webhook = importlib.import_module("coinbase_commerce.webhook")  # it has no types
errors = importlib.import_module("coinbase_commerce.error")
SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=80)


def commerce(secret: str) -> Provider:
    return provider_with({"provider": "coinbase_commerce", "secrets": [secret]})


def ours(secret: str, signature: str, body: bytes) -> bool:
    callback = Callback(method="POST", headers=[(b"x-cc-webhook-signature", signature.encode())], body=body)
    try:
        return bool(commerce(secret).verify(callback, NOW).facts)
    except VerificationError:
        return False


def theirs(secret: str, signature: str, body: bytes) -> bool:
    try:
        webhook.Webhook.construct_event(body.decode(), signature, secret)
    except (errors.CoinbaseError, TypeError):  # the latter for a signature that is not ASCII
        return False
    return True


def signed(secret: str, body: bytes) -> str:
    return dict(as_callback(commerce(secret).seal(body, NOW)).headers)[b"x-cc-webhook-signature"].decode()


@MODEST
@given(secrets=st.tuples(SECRETS, SECRETS), content=JSON, change=CHANGES)
def test_every_verdict(secrets: tuple[str, str], content: dict[str, object], change: Change) -> None:
    written = json.dumps({"event": {"id": "e", **content}}, ensure_ascii=False).encode()
    for secret in secrets:
        real = signed(secret, written)
        for body, signature in (change(written, real), (written, real)):
            found = ours(secrets[0], signature, body)
            assert found == theirs(secrets[0], signature, body)
            assert found == ((body, signature, secret) == (written, real, secrets[0]))


@pytest.mark.parametrize("body", [b"no JSON", b"{}", b'{"event":null}'])
def test_what_cannot_be_read_is_genuine_if_it_is_signed(body: bytes) -> None:
    """A difference: they look at the body first. Here it is odd and quarantined, since nobody else can sign it."""
    assert ours("secret", signed("secret", body), body)
    assert not theirs("secret", signed("secret", body), body)
