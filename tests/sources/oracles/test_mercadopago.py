"""Mercado Pago's SDK and we agree on every id, request, time, key and signature, but for differences listed here."""

import hashlib
import hmac
import importlib
from collections.abc import Mapping
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from tests.sources.conftest import NOW, provider_with
from tests.sources.oracles.tampering import CHANGES, MODEST, Change

validator = importlib.import_module("mercadopago.webhook.validator")  # has no types

SECRETS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=70)
IDS = st.text("0123456789abcdefghijklmnopqrstuvwxyz-_", max_size=20)
TIMES = st.integers(NOW - 86_400, NOW + 86_400).flatmap(lambda second: st.sampled_from([second, second * 1000 + 7]))


def ours(secret: str, data_id: str, request_id: str, signature: str) -> bool:
    named = {b"x-signature": signature, b"x-request-id": request_id}
    headers = [(name, value.encode()) for name, value in named.items() if value]
    query = f"data.id={quote(data_id)}&type=payment".encode()
    provider = provider_with({"provider": "mercadopago", "secrets": [secret]})
    try:
        return bool(provider.verify(Callback(method="POST", headers=headers, body=b"{}", query=query), NOW).facts)
    except VerificationError:
        return False


def theirs(secret: str, data_id: str, request_id: str, signature: str) -> bool:
    try:
        validator.WebhookSignatureValidator.validate(signature, request_id, data_id, secret)
    except (validator.InvalidWebhookSignatureError, TypeError):  # the latter for what is not ASCII
        return False
    return True


def signed(secret: str, data_id: str, request_id: str, sent: object = NOW) -> str:
    """By the documented rule."""
    parts = {"id": data_id, "request-id": request_id, "ts": sent}
    text = "".join(f"{name}:{value};" for name, value in parts.items() if value)
    return f"ts={sent},v1={hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()}"


def untouched(body: bytes, signature: str) -> tuple[bytes, str]:
    return body, signature


@MODEST
@example(secrets=("new", "old"), ids=("1", "2"), requests=("a", "b"), sent=NOW, change=untouched)
@example(secrets=("new", "old"), ids=("1", ""), requests=("a", ""), sent=NOW * 1000, change=untouched)
@given(
    secrets=st.tuples(SECRETS, SECRETS),
    ids=st.tuples(IDS, IDS),
    requests=st.tuples(IDS, IDS),
    sent=TIMES,
    change=CHANGES,
)
def test_every_verdict(
    secrets: tuple[str, str], ids: tuple[str, str], requests: tuple[str, str], sent: int, change: Change
) -> None:
    (secret, other), (data_id, about), (request_id, request) = secrets, ids, requests
    real = signed(secret, data_id, request_id, sent)
    _, signature = change(b"", real)
    for used, named, asked in (
        (secret, data_id, request_id),
        (other, data_id, request_id),
        (secret, about, request_id),
        (secret, data_id, request),
    ):
        found = ours(used, named, asked, signature)
        assert found == theirs(used, named, asked, signature)
        same = (used, named, asked) == (secret, data_id, request_id)
        assert found == (same and signature.strip() == real)


REAL = signed("key", "order1", "req")
STALE = signed("key", "order1", "req", NOW - 30 * 86_400)
CLEAN: Mapping[str, tuple[str, str, str]] = {
    "a repeated time": ("order1", "req", "ts=1," + REAL),
    "a repeated signature": ("order1", "req", REAL.replace("v1=", "v1=00,v1=")),
    "names in capitals": ("order1", "req", REAL.replace("ts", "TS").replace("v1", "V1")),
    "a time in Arabic digits": ("order1", "req", signed("key", "order1", "req", "\u0661\u0662")),
    "a time of a month ago": ("order1", "req", STALE),
    "a border that is moved": ("order1;request-id:req", "", REAL),
    "white space around the id": (" order1 ", "req", REAL),
}


@pytest.mark.parametrize("case", CLEAN)
def test_the_sdk_takes_what_nobody_sends(case: str) -> None:
    """A difference: what has two readings, or was another callback, is refused here."""
    assert theirs("key", *CLEAN[case])
    assert not ours("key", *CLEAN[case])


def test_an_id_in_capitals_may_be_signed_in_lower_case() -> None:
    """A difference: the documents say so, and this SDK takes it as it came. Both are taken here."""
    assert not theirs("key", "ORD01", "req", signed("key", "ord01", "req"))
    assert ours("key", "ORD01", "req", signed("key", "ord01", "req"))
    assert ours("key", "ORD01", "req", signed("key", "ORD01", "req"))
    assert theirs("key", "ORD01", "req", signed("key", "ORD01", "req"))
