"""Braintree's SDK and we agree on signatures, challenges and what stands in a notification, but for what is listed."""

import datetime as dt
import importlib
import re
import warnings
from base64 import decodebytes
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback, Fact
from receiver.sources import Provider, forms
from tests.sources.conftest import NOW, provider_with
from tests.sources.oracles.tampering import MODEST

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # what it imports warns of itself
    braintree = importlib.import_module("braintree")  # it has no types
    exceptions = importlib.import_module("braintree.exceptions.invalid_signature_error")
    xml_util = importlib.import_module("braintree.util.xml_util")

PUBLIC, PRIVATE = "integration_public_key", "integration_private_key"
GATEWAY = braintree.BraintreeGateway(
    braintree.Configuration(braintree.Environment.Sandbox, "merchant", PUBLIC, PRIVATE)
)
NOTIFICATIONS = GATEWAY.webhook_notification
KINDS = sorted(value for name, value in vars(braintree.WebhookNotification.Kind).items() if not name.startswith("_"))
ACCOUNT: Provider = provider_with({"provider": "braintree", "keys": {PUBLIC: PRIVATE}})


def ours(signature: str, payload: bytes) -> Fact | None:
    body = urlencode({"bt_signature": signature, "bt_payload": payload}).encode()
    try:
        (fact,) = ACCOUNT.verify(Callback(method="POST", headers=[], body=body), NOW).facts
    except VerificationError:
        return None
    return fact


def theirs(signature: str, payload: bytes) -> bool:
    """Whether the signature is taken; what is wrong with the content is another matter."""
    try:
        NOTIFICATIONS.parse(signature, payload)
    except exceptions.InvalidSignatureError:
        return False
    except Exception:  # noqa: BLE001  whatever the parser of XML or the model makes of it
        return True
    return True


def signed(payload: bytes) -> str:
    form = forms.parsed(ACCOUNT.seal(b"", NOW).body)
    assert form[b"bt_signature"].startswith(PUBLIC.encode())
    crypto = importlib.import_module("braintree.util.crypto").Crypto
    return f"{PUBLIC}|{crypto.sha1_hmac_hash(PRIVATE, payload)}"


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str) -> None:
    sample = GATEWAY.webhook_testing.sample_notification(kind, "my_id")
    fact = ours(sample["bt_signature"], sample["bt_payload"])
    assert fact is not None
    assert (fact.type, fact.odd) == (kind, None)
    assert fact.occurred_at is not None
    content = ACCOUNT.content(urlencode(sample).encode())
    expected = plain(xml_util.XmlUtil.dict_from_xml(decodebytes(sample["bt_payload"]))["notification"])
    assert content == (DIFFERENCES[kind](expected) if kind in DIFFERENCES else expected)


def checked(expected: object) -> object:
    """White space around `true` makes it False in the SDK."""
    assert isinstance(expected, dict)
    return {**expected, "subject": {"check": True}}


def payer_twice(expected: object) -> object:
    """The sample names one thing twice. The SDK drops the first; here both are seen."""
    assert isinstance(expected, dict)
    payment = expected["subject"]["local_payment"]
    return {**expected, "subject": {"local_payment": {**payment, "payer_id": [payment["payer_id"]] * 2}}}


DIFFERENCES: Mapping[str, Callable[[object], object]] = {"check": checked, "local_payment_completed": payer_twice}


def plain(value: object) -> object:
    """What the SDK made of the XML, with times as they are written there."""
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


PAYLOADS = st.text("ab09+/=\n", max_size=40) | st.text("0af", min_size=18, max_size=34) | st.text("a~ é", max_size=6)
PAIRS = ["{0}", "x|y&{0}", "{0}&x|y", "nonsense&{0}", "{0}0", "public|{0}", "", "x", "x|y", "{0}&{0}"]


@MODEST
@given(payload=PAYLOADS, pairs=st.sampled_from(PAIRS), lost=st.booleans(), changed=st.booleans())
@example(payload="0123456789abcdef0123", pairs="{0}", lost=False, changed=False)
@example(payload="ab~", pairs="{0}", lost=False, changed=False)
def test_every_signature(payload: str, pairs: str, lost: bool, changed: bool) -> None:
    sent = payload.encode()
    signature = pairs.format(signed(sent + b"\n" if lost else sent))
    sent += b"A" if changed else b""
    fact = ours(signature, sent)
    if signature.count("|") > 1 and "&" not in signature:
        assert fact is None, "its ValueError is a refusal here"
    elif re.fullmatch(b"[a-f0-9]{20,32}", sent):
        assert fact is None, "a difference: everybody can have such a payload signed, by asking for a challenge"
    elif re.search(rb"[^A-Za-z0-9+=/\n]", sent):
        # A difference: the SDK does not look at the signature of what is no base64. What Braintree has signed is
        # genuine, and is kept in quarantine.
        assert fact is None or fact.odd == "payload_malformed"
        assert not theirs(signature, sent)
    else:
        assert (fact is not None) == theirs(signature, sent)


@MODEST
@given(challenge=st.text("0123456789abcdefAg-\n", max_size=40) | st.text("0123456789abcdef", min_size=18, max_size=34))
def test_every_challenge(challenge: str) -> None:
    answer = ACCOUNT.challenge(urlencode({"bt_challenge": challenge}).encode())
    try:
        expected = NOTIFICATIONS.verify(challenge)
    except braintree.exceptions.invalid_challenge_error.InvalidChallengeError:
        expected = None
    if challenge.endswith("\n"):
        assert answer is None, "a difference: the SDK's pattern lets a newline through at the end"
    else:
        assert (None if answer is None else answer.body.decode()) == expected
