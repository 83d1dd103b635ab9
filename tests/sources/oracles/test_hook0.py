"""Hook0's SDK and we agree on what Coinbase's later products send, but for how names, times and codes are spelled."""

import datetime as dt
import hashlib
import hmac
import importlib
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import Provider
from tests.sources.conftest import NOW, provider_with
from tests.sources.oracles.tampering import CHANGES, JSON, MODEST, Change

sdk = importlib.import_module("hook0.signature")  # it has no types
errors = importlib.import_module("hook0.errors")
SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=60)
VALUES = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=20)
Headers = Mapping[str, str]


def subscription(secret: str) -> Provider:
    return provider_with({"provider": "coinbase_commerce", "secrets": [secret]})


def ours(secret: str, signature: str, headers: Headers, body: bytes) -> bool:
    sent = {**headers, "x-hook0-signature": signature}
    pairs = [(name.encode(), value.encode()) for name, value in sent.items()]
    try:
        return bool(subscription(secret).verify(Callback(method="POST", headers=pairs, body=body), NOW).facts)
    except VerificationError:
        return False


def theirs(secret: str, signature: str, headers: Headers, body: bytes) -> bool:
    now = dt.datetime.fromtimestamp(NOW, dt.UTC)
    try:
        return bool(sdk.verify_webhook_signature_with_current_time(signature, body, headers.items(), secret, 300, now))
    except errors.Hook0ClientError:
        return False


def code(secret: str, *parts: str, body: bytes) -> str:
    return hmac.new(secret.encode(), ".".join(parts).encode() + b"." + body, hashlib.sha256).hexdigest()


def signed(secret: str, headers: Headers, body: bytes, sent: int = NOW, *, both: bool = False) -> str:
    """By the documented rule, `v1` where headers are signed; `both` adds a `v0` that is right."""
    v0 = f"v0={code(secret, str(sent), body=body)}"
    if not headers:
        return f"t={sent},{v0}"
    names = " ".join(headers)
    v1 = f"h={names},v1={code(secret, str(sent), names, '.'.join(headers.values()), body=body)}"
    return f"t={sent},{v0},{v1}" if both else f"t={sent},{v1}"


@MODEST
@given(
    secrets=st.tuples(SECRETS, SECRETS),
    apart=st.sampled_from([0, 300, -300, 301, -301]),
    headers=st.dictionaries(st.sampled_from(["x-event-id", "x-event-type", "content-type"]), VALUES),
    both=st.booleans(),
    content=JSON,
    change=CHANGES,
    data=st.data(),
)
def test_every_verdict(
    *,
    secrets: tuple[str, str],
    apart: int,
    headers: dict[str, str],
    both: bool,
    content: dict[str, object],
    change: Change,
    data: st.DataObject,
) -> None:
    written = json.dumps(content, ensure_ascii=False).encode()
    arrived = {name: data.draw(st.sampled_from([value, value + "0"])) for name, value in headers.items()}
    for secret in secrets:
        real = signed(secret, headers, written, NOW + apart, both=both)
        for body, signature in (change(written, real), (written, real)):
            # A difference: spaces around a part are nothing to them, and a part of it to us.
            stripped = signature.rstrip(" ") == real
            for seen in (headers, arrived):
                found = ours(secrets[0], signature, seen, body)
                assert found == theirs(secrets[0], signature, seen, body) or (stripped and not found)
                same = (secret, signature, seen, body) == (secrets[0], real, headers, written)
                assert found == (same and abs(apart) <= 300)


def test_a_header_that_is_named_must_be_there() -> None:
    signature = signed("s", {"x-event-id": ""}, b"{}")
    assert ours("s", signature, {"x-event-id": ""}, b"{}")
    assert theirs("s", signature, {"x-event-id": ""}, b"{}")
    assert not ours("s", signature, {}, b"{}")
    assert not theirs("s", signature, {}, b"{}")


def test_the_weaker_scheme_counts_only_alone() -> None:
    right, wrong = signed("s", {}, b"{}"), signed("other", {"x-event-id": "1"}, b"{}").partition(",")[2]
    assert ours("s", right, {"x-event-id": "1"}, b"{}")
    assert not ours("s", f"{right},{wrong}", {"x-event-id": "1"}, b"{}")
    assert not theirs("s", f"{right},{wrong}", {"x-event-id": "1"}, b"{}")


REAL = signed("s", {"x-event-id": "1"}, b"{}")
TAKEN: Mapping[str, str] = {
    "capital digits": REAL[:-64] + REAL[-64:].upper(),
    "a name in capitals": REAL.replace("x-event-id", "X-Event-Id"),
    "two times": f"t=1,{REAL}",
    "spaces": REAL.replace(",", ", "),
    "a sign before the time": REAL.replace("t=", "t=+"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_the_sdk_takes_what_hook0_does_not_send(case: str) -> None:
    """A difference: one spelling is accepted here."""
    assert theirs("s", TAKEN[case], {"x-event-id": "1"}, b"{}")
    assert not ours("s", TAKEN[case], {"x-event-id": "1"}, b"{}")
