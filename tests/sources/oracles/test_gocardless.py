"""GoCardless' SDK and we agree on every body and signature, and on what stands in a batch."""

import importlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from tests.sources.conftest import NOW, as_callback, provider_with
from tests.sources.oracles.tampering import CHANGES, JSON, MODEST, Change

webhooks = importlib.import_module("gocardless_pro.webhooks")  # it has no types
errors = importlib.import_module("gocardless_pro.errors")
SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=100)


def ours(secret: str, body: bytes, signature: str) -> list[str | None] | None:
    provider = provider_with({"provider": "gocardless", "secrets": [secret]})
    callback = Callback(method="POST", headers=[(b"webhook-signature", signature.encode())], body=body)
    try:
        return [fact.external_id for fact in provider.verify(callback, NOW).facts]
    except VerificationError:
        return None


def theirs(secret: str, body: bytes, signature: str) -> list[str | None] | None:
    try:
        return [event.id for event in webhooks.parse(body, secret, signature)]
    except (errors.InvalidSignatureError, TypeError):  # the second is its answer to what is not ASCII
        return None


def signed(secret: str, body: bytes) -> str:
    provider = provider_with({"provider": "gocardless", "secrets": [secret]})
    return dict(as_callback(provider.seal(body, NOW)).headers)[b"webhook-signature"].decode()


@MODEST
@given(secret=SECRETS, other=SECRETS, items=st.lists(JSON, min_size=1, max_size=4), change=CHANGES, wrong=st.booleans())
def test_every_verdict(secret: str, other: str, items: list[dict[str, object]], change: Change, wrong: bool) -> None:
    events = [{**item, "id": f"EV{i}", "resource_type": "payments", "action": "paid"} for i, item in enumerate(items)]
    written = json.dumps({"events": events}).encode()
    body, signature = change(written, signed(other if wrong else secret, written))
    found = ours(secret, body, signature)
    assert found == theirs(secret, body, signature)
    assert (found is None) is ((body, signature) != (written, signed(secret, written)))


def test_what_their_sdk_raises_is_a_refusal_here() -> None:
    with pytest.raises(TypeError):
        webhooks.parse(b"{}", "secret", "é")
    assert ours("secret", b"{}", "é") is None
