"""The provider that is all settings: it reads the schemes of others, and says which setting is wrong."""

from collections.abc import Mapping

import pytest

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback
from receiver.sources import PROVIDERS, Signed, made_up
from tests.sources.conftest import NOW, provider_with

SECRET = "a shared secret"
BASE: Mapping[str, object] = {"provider": "hmac", "secrets": [SECRET], "header": "X-Signature"}
STRIPE = {
    "header": "Stripe-Signature",
    "separator": ",",
    "scheme": "v1",
    "timestamp_item": "t",
    "signed": "{timestamp}.{body}",
    "id": "id",
    "type": "type",
    "entity": "data.object.id",
    "time": "created",
}
PADDLE = {**STRIPE, "header": "Paddle-Signature", "separator": ";", "scheme": "h1", "timestamp_item": "ts"}
SAME: Mapping[str, Mapping[str, object]] = {
    "github": {"header": "X-Hub-Signature-256", "prefix": "sha256=", "type_header": "X-GitHub-Event"},
    "stripe": STRIPE,
    "paddle": {**PADDLE, "signed": "{timestamp}:{body}", "id": "event_id", "type": "event_type", "entity": "data.id"},
    "shopify": {"header": "X-Shopify-Hmac-Sha256", "encoding": "base64", "type_header": "X-Shopify-Topic"},
    "paystack": {"header": "X-Paystack-Signature", "algorithm": "sha512", "type": "event"},
    "toss": {
        "header": "tosspayments-webhook-signature",
        "encoding": "base64",
        "prefix": "v1:",
        "signed": "{body}:{header:tosspayments-webhook-transmission-time}",
        "type": "eventType",
    },
}


def arrived(signed: Signed) -> Callback:
    headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers]
    return Callback(method="POST", headers=headers, body=signed.body)


@pytest.mark.parametrize("name", SAME)
def test_it_reads_what_others_sign(name: str) -> None:
    """With the secret of an account of theirs, and refuses it under another."""
    account = made_up(name)
    kind = PROVIDERS[name]
    payload = kind.sample("paid", external_id="evt_1", entity_id="order1", created=NOW)
    callback = arrived(provider_with(account).sign(payload, NOW))
    own = provider_with({**BASE, **SAME[name], "secrets": account["secrets"]})
    verified = own.verify(callback, NOW)
    assert (verified.secret, verified.facts[0].type) == (0, kind.samples["paid"].type)
    with pytest.raises(VerificationError, match="signature_mismatch"):
        provider_with({**BASE, **SAME[name]}).verify(callback, NOW)


@pytest.mark.parametrize("name", ["github", "stripe", "paddle", "paystack"])
def test_others_read_what_it_signs(name: str) -> None:
    account = made_up(name)
    kind = PROVIDERS[name]
    payload = kind.sample("paid", external_id="evt_1", entity_id="order1", created=NOW)
    own = provider_with({**BASE, **SAME[name], "secrets": account["secrets"]})
    assert provider_with(account).verify(arrived(own.sign(payload, NOW)), NOW).secret == 0


@pytest.mark.parametrize(("age", "reason"), [(301, "timestamp_expired"), (-301, "timestamp_future")])
def test_a_signed_time_is_checked(age: int, reason: str) -> None:
    own = provider_with(made_up("hmac"))
    signed = own.sign(PROVIDERS["hmac"].sample("paid", external_id="e", entity_id="o", created=NOW), NOW)
    assert own.verify(arrived(signed), NOW + 300).facts
    with pytest.raises(VerificationError, match=reason):
        own.verify(arrived(signed), NOW + age)


def test_what_it_names_is_kept_with_the_event() -> None:
    own = provider_with({**BASE, "id_header": "X-Id", "signed": "{header:X-Nonce}{body}", "type_header": "X-Type"})
    assert own.kept_headers() == {b"content-type", b"x-signature", b"x-nonce", b"x-id", b"x-type"}


def test_a_header_that_is_signed_must_be_there() -> None:
    own = provider_with({**BASE, "signed": "{header:X-Nonce}{body}"})
    bare = Callback(method="POST", headers=[(b"x-signature", b"00")], body=b"{}")
    with pytest.raises(VerificationError, match="header_missing"):
        own.verify(bare, NOW)


WRONG: Mapping[str, tuple[Mapping[str, object], str]] = {
    "algorithm": ({"algorithm": "md5"}, "algorithm: 'md5' is none of sha256, "),
    "encoding": ({"encoding": "base32"}, "encoding: 'base32' is none of hex, "),
    "header": ({"header": "X Signature"}, "header: 'X Signature' is no header's name"),
    "no body": ({"signed": "{header:x-id}"}, "signed: holds no {body}"),
    "unknown piece": ({"signed": "{bodi}"}, "signed: {bodi} is none of {body}, "),
    "half a brace": ({"signed": "{body}}"}, "signed: has a brace without its other"),
    "an unsigned time": ({"timestamp_header": "X-Time"}, "signed: holds no {timestamp}"),
    "a time from nowhere": ({"signed": "{timestamp}{body}"}, "signed: has {timestamp}, which stands nowhere"),
    "two times": (
        {"timestamp_header": "X-Time", "timestamp_item": "t", "separator": ",", "signed": "{timestamp}{body}"},
        "timestamp_item: the time stands in timestamp_header already",
    ),
    "items of nothing": ({"scheme": "v1"}, "scheme: needs a separator"),
    "two places of an id": ({"id": "id", "id_header": "X-Id"}, "id_header: id says already"),
    "a path": ({"id": "data..id"}, "id: 'data..id' is no path"),
    "tolerance": ({"tolerance": 0}, "tolerance: '0' is no number of seconds"),
    "tolerance in words": ({"tolerance": "long"}, "tolerance: 'long' is no number of seconds"),
    "a secret in hex": ({"secret_encoding": "hex"}, "secrets[0]: is not in hex"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_name_the_setting(case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(SettingsError) as caught:
        provider_with({**BASE, **changes})
    assert str(caught.value).startswith(message)
