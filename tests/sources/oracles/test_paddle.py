"""Paddle's SDK and we agree on every secret, time, list of signatures and body but for how times are spelled."""

import hmac
import importlib
import json
from dataclasses import dataclass

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import Provider
from tests.sources.conftest import NOW, as_callback, provider_with
from tests.sources.oracles.tampering import CHANGES, JSON, MODEST, Change

paddle_billing = importlib.import_module("paddle_billing.Notifications")  # it has no types
SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=80)
OTHER = "h1=" + "0" * 64


@dataclass(frozen=True)
class Request:
    """As their verifier wants one."""

    headers: dict[str, str]
    body: bytes


def paddle(*secrets: str) -> Provider:
    return provider_with({"provider": "paddle", "secrets": list(secrets)})


def ours(secrets: tuple[str, ...], header: str, body: bytes) -> bool:
    callback = Callback(method="POST", headers=[(b"paddle-signature", header.encode())], body=body)
    try:
        return bool(paddle(*secrets).verify(callback, NOW).facts)
    except VerificationError:
        return False


def theirs(secrets: tuple[str, ...], header: str, body: bytes) -> bool:
    known = [paddle_billing.Secret(secret) for secret in secrets]
    request = Request({"Paddle-Signature": header}, body)
    try:
        with time_machine.travel(NOW, tick=False):
            return bool(paddle_billing.Verifier().verify(request, known))
    except (ConnectionRefusedError, ValueError, TypeError):  # how it says no, depending on what is wrong
        return False


def signed(secret: str, body: bytes, sent: int = NOW) -> str:
    return dict(as_callback(paddle(secret).seal(body, sent)).headers)[b"paddle-signature"].decode()


@MODEST
@given(
    secrets=st.tuples(SECRETS, SECRETS, SECRETS),
    apart=st.sampled_from([0, 5, -5, 6, -6, 3600]),
    beside=st.sampled_from(["{}", "{};" + OTHER, OTHER + ";{}", "{};", "nothing;{}"]),
    content=JSON,
    change=CHANGES,
)
def test_every_verdict(
    secrets: tuple[str, str, str], apart: int, beside: str, content: dict[str, object], change: Change
) -> None:
    written = json.dumps(content, ensure_ascii=False).encode()
    for secret in secrets:
        real = signed(secret, written, NOW + apart)
        for body, header in (change(written, real), (written, real)):
            around = beside.format(header)
            found = ours(secrets[:2], around, body)
            assert found == theirs(secrets[:2], around, body)
            assert found == (secret in secrets[:2] and abs(apart) <= 5 and (body, header) == (written, real))


@pytest.mark.parametrize("sent", [f" {NOW}", f"+{NOW}", "1_760_000_000", "٠١٧٦٠٠٠٠٠٠٠"])
def test_times_are_digits(sent: str) -> None:
    """A difference: they take whatever Python's `int` does, and sign it as they understood it."""
    header = signed("secret", b"{}").replace(str(NOW), sent)
    assert theirs(("secret",), header, b"{}")
    assert not ours(("secret",), header, b"{}")
    as_spelled = hmac.new(b"secret", f"{sent}:{{}}".encode(), "sha256").hexdigest()
    assert not ours(("secret",), f"ts={sent};h1={as_spelled}", b"{}")


def test_schemes_to_come_are_passed_over() -> None:
    """A difference: they raise a ValueError, although one that they know is right; their SDK for Node does not."""
    header = signed("secret", b"{}")
    assert ours(("secret",), header + ";h2=to-come", b"{}")
    assert not theirs(("secret",), header + ";h2=to-come", b"{}")
    assert not ours(("secret",), header.replace("h1", "h2"), b"{}")


def test_two_times_are_none() -> None:
    """A difference: to them the last one counts, and it is what is signed."""
    header = f"ts={NOW};" + signed("secret", b"{}")
    assert theirs(("secret",), header, b"{}")
    assert not ours(("secret",), header, b"{}")


def test_a_body_that_is_no_text_is_genuine_if_it_is_signed() -> None:
    """A difference: they cannot decode it. Here it is odd and goes to quarantine."""
    header = signed("secret", b"\xff")
    assert ours(("secret",), header, b"\xff")
    assert not theirs(("secret",), header, b"\xff")
