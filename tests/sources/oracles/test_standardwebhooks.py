"""The two SDKs, Svix's and that of the specification, and we agree on every secret, name, time and body.

They take other spellings of what we take in one. They know `v1` alone; for `v1a` (ed25519) there is no verifier in
Python.
"""

import base64
import datetime as dt
import hmac
import json

import pytest
import standardwebhooks
import svix.webhooks
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import Provider
from tests.sources.conftest import NOW, as_callback, provider_with
from tests.sources.oracles.tampering import CHANGES, JSON, MODEST, Change

SECRETS = st.binary(min_size=1, max_size=80).map(lambda raw: "whsec_" + base64.b64encode(raw).decode())
IDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=30)


def receiver(secret: str) -> Provider:
    return provider_with({"provider": "standardwebhooks", "secrets": [secret]})


def ours(secret: str, headers: dict[str, str], body: bytes) -> bool:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    try:
        return bool(receiver(secret).verify(Callback(method="POST", headers=pairs, body=body), NOW).facts)
    except VerificationError:
        return False


def theirs(secret: str, headers: dict[str, str], body: bytes) -> bool:
    found = accepted(svix.webhooks.Webhook(secret), headers, body)
    if any(name.startswith("webhook-") for name in headers):  # the specification's SDK knows no other names
        assert found == accepted(standardwebhooks.Webhook(secret), headers, body)
    return found


def accepted(sdk: svix.webhooks.Webhook | standardwebhooks.Webhook, headers: dict[str, str], body: bytes) -> bool:
    try:
        with time_machine.travel(NOW, tick=False):
            sdk.verify(body, headers)
    except Exception:  # noqa: BLE001 - beside its own error it raises others for what is malformed
        return False
    return True


def sign(secret: str, message: str, sent: int, body: str) -> str:
    return standardwebhooks.Webhook(secret).sign(message, dt.datetime.fromtimestamp(sent, dt.UTC), body)


def written(family: str, message: str, sent: str, signature: str) -> dict[str, str]:
    return {f"{family}-id": message, f"{family}-timestamp": sent, f"{family}-signature": signature}


@MODEST
@given(
    named=st.tuples(st.sampled_from(["webhook", "svix"]), IDS),
    secrets=st.tuples(SECRETS, SECRETS),
    apart=st.sampled_from([0, -300, 300, -301, 301, -3600]),
    content=JSON,
    change=CHANGES,
)
def test_every_verdict(
    named: tuple[str, str], secrets: tuple[str, str], apart: int, content: dict[str, object], change: Change
) -> None:
    (family, message), body, sent = named, json.dumps(content).encode(), NOW + apart
    for secret in secrets:
        real = sign(secret, message, sent, body.decode())
        for changed, signature in (change(body, real), (body, real)):
            headers = written(family, message, str(sent), signature)
            found = ours(secrets[0], headers, changed)
            assert found == (theirs(secrets[0], headers, changed) and not respelled(signature, real))
            genuine = (changed, signature.rstrip(" "), secret) == (body, real, secrets[0])
            assert found == (genuine and abs(apart) <= 300)


def respelled(signature: str, real: str) -> bool:
    """A difference: base64 with something behind its padding means the same to them, and is none to us."""
    return signature.rstrip(" ") != real and base64.b64decode(signature[3:].encode()) == base64.b64decode(real[3:])


@MODEST
@given(secret=SECRETS, message=IDS, content=JSON)
def test_they_take_what_we_sign(secret: str, message: str, content: dict[str, object]) -> None:
    callback = as_callback(receiver(secret).sign({**content, "id": message}, NOW))
    headers = {name.decode(): value.decode() for name, value in callback.headers}
    assert theirs(secret, headers, callback.body)
    assert ours(secret, headers, callback.body)


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
REAL = sign(SECRET, "m", NOW, "{}")


@pytest.mark.parametrize("sent", [f"{NOW}.0", f" {NOW}", f"+{NOW}", "1_760_000_000", "1.76e9", "١٧٦٠٠٠٠٠٠٠"])
def test_times_are_digits(sent: str) -> None:
    """A difference: they take whatever Python's `float` does, and sign it as they understood it."""
    headers = written("webhook", "m", sent, REAL)
    assert theirs(SECRET, headers, b"{}")
    assert not ours(SECRET, headers, b"{}")
    as_spelled = hmac.digest(base64.b64decode(SECRET[6:]), f"m.{sent}.{{}}".encode(), "sha256")
    headers = written("webhook", "m", sent, f"v1,{base64.b64encode(as_spelled).decode()}")
    assert not ours(SECRET, headers, b"{}")


def test_entries_that_are_none_are_passed_over() -> None:
    """A difference: they raise a ValueError at the first entry without a comma, although a right one follows."""
    headers = written("webhook", "m", str(NOW), f"garbage {REAL}")
    assert ours(SECRET, headers, b"{}")
    assert not theirs(SECRET, headers, b"{}")


def test_one_family_of_names_is_not_mixed_with_the_other() -> None:
    """A difference: Svix's takes each header from its own family first; we take all three from one."""
    headers = {**written("webhook", "m", str(NOW), REAL), "svix-id": "another"}
    assert ours(SECRET, headers, b"{}")
    assert not accepted(svix.webhooks.Webhook(SECRET), headers, b"{}")


def test_a_body_that_is_no_json_is_genuine_if_it_is_signed() -> None:
    """A difference: the specification's SDK then reads the body, and raises. Here it is odd and goes to quarantine."""
    headers = written("webhook", "m", str(NOW), sign(SECRET, "m", NOW, "no JSON"))
    assert ours(SECRET, headers, b"no JSON")
    assert accepted(svix.webhooks.Webhook(SECRET), headers, b"no JSON")
    assert not accepted(standardwebhooks.Webhook(SECRET), headers, b"no JSON")
