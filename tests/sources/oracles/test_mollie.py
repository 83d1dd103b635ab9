"""Mollie's SDK and we agree on every body, secret and signature, but for white space at a signature's ends."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mollie.utils.webhooks.signature_validator import InvalidSignatureException, SignatureValidator

from receiver.errors import VerificationError
from receiver.events import Callback
from tests.sources.conftest import NOW, provider_with
from tests.sources.oracles.tampering import CHANGES, JSON, MODEST, Change

SECRETS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=100)


def ours(secrets: list[str], body: bytes, signatures: list[str]) -> bool:
    headers = [(b"x-mollie-signature", value.encode()) for value in signatures]
    provider = provider_with({"provider": "mollie", "secrets": secrets})
    try:
        return bool(provider.verify(Callback(method="POST", headers=headers, body=body), NOW).facts)
    except VerificationError:
        return False


def theirs(secrets: list[str], body: bytes, signatures: list[str]) -> bool:
    try:
        return SignatureValidator.validate(body.decode(), secrets, signatures)
    except (InvalidSignatureException, TypeError):  # the latter for what is not ASCII
        return False


def untouched(body: bytes, signature: str) -> tuple[bytes, str]:
    return body, signature


@MODEST
@example(secrets=("new", "old"), content={}, prefix="", change=untouched)
@example(secrets=("new", "old"), content={}, prefix="sha256=", change=untouched)
@example(secrets=("new", "old"), content={}, prefix="sha256=sha256=", change=untouched)
@given(
    secrets=st.tuples(SECRETS, SECRETS),
    content=JSON,
    prefix=st.sampled_from(["", "sha256=", "sha256=sha256=", "SHA256=", "sha1="]),
    change=CHANGES,
)
def test_every_verdict(secrets: tuple[str, str], content: dict[str, object], prefix: str, change: Change) -> None:
    written = json.dumps(content, ensure_ascii=False).encode()
    secret, other = secrets
    real = prefix + SignatureValidator.create_signature(written.decode(), secret)
    body, signature = change(written, real)
    for live in ([secret], [other], [other, secret]):
        for sent in ([signature], [signature, "00"], ["sha256=00", signature]):
            found = ours(live, body, sent)
            assert found == theirs(live, body, [value.strip() for value in sent])
            genuine = body == written and signature.strip() == real and prefix in {"", "sha256="}
            assert found == (genuine and secret in live)


@pytest.mark.parametrize("change", [str.__add__, lambda text, space: space + text])
def test_white_space_around_a_signature_is_none_of_it(change: object) -> None:
    """A difference, which no server shows: it takes the spaces off a header, and a list may have some behind commas."""
    assert callable(change)
    real = SignatureValidator.create_signature("{}", "key")
    assert ours(["key"], b"{}", [change(real, " ")])
    assert not theirs(["key"], b"{}", [change(real, " ")])


def test_signatures_that_a_proxy_has_joined() -> None:
    """A difference: headers of one name may be joined by commas on the way (RFC 9110), and the SDK does not look."""
    joined = ", ".join(SignatureValidator.create_signature("{}", secret) for secret in ("new", "old"))
    assert ours(["old"], b"{}", [joined])
    assert not theirs(["old"], b"{}", [joined])
