"""One account of each provider with made-up keys, and signing by hand of whatever a test wants signed."""

import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from receiver.events import Callback, Fact
from receiver.sources import PROVIDERS, Provider, Signed, made_up
from receiver.sources.given import given_options

NOW = 1_760_000_000
NAMES = ("stripe", "standardwebhooks", "alipay", "wechatpay")
JSON_NAMES = ("stripe", "standardwebhooks", "wechatpay")


@dataclass(frozen=True)
class Kit:
    """What a test needs to play one provider."""

    name: str
    settings: Mapping[str, object]
    provider: Provider
    seal: Callable[[bytes], Callback]
    """Any body, signed at NOW by hand, not by the code under test. Alipay: a form without `sign`."""

    def sent(self, what: str = "paid", *, now: int = NOW, **changes: object) -> Callback:
        """A sample as the provider's own `sign` sends it."""
        return as_callback(self.provider.sign({**self.payload(what), **changes}, now))

    def payload(self, what: str = "paid") -> dict[str, object]:
        """A sample with ids that are always the same."""
        event = self.provider.sample_id("123456789012345", NOW)
        return self.provider.sample(what, external_id=event, entity_id="order1", created=NOW)

    def fact(self, callback: Callback, now: float = NOW) -> Fact:
        """The one fact of a callback that verifies."""
        (fact,) = self.provider.verify(callback, now).facts
        return fact


def as_callback(signed: Signed) -> Callback:
    """What arrives when `signed` is sent."""
    headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers]
    return Callback(method="POST", headers=headers, body=signed.body)


def provider_with(settings: Mapping[str, object]) -> Provider:
    """A provider from the settings of a source."""
    kind = PROVIDERS[str(settings["provider"])]
    given = {name: value for name, value in settings.items() if name != "provider"}
    return kind(given_options(kind, given, f"sources.{kind.name}", Path(), verified=bool(given)))


@pytest.fixture(scope="session")
def kits() -> Mapping[str, Kit]:
    """A kit for each provider."""
    sealers = {
        "stripe": seal_stripe,
        "standardwebhooks": seal_standardwebhooks,
        "alipay": seal_alipay,
        "wechatpay": seal_wechatpay,
    }
    found = {}
    for name in NAMES:
        settings = made_up(name)
        found[name] = Kit(name, settings, provider_with(settings), sealers[name](settings))
    return found


def seal_stripe(settings: Mapping[str, object]) -> Callable[[bytes], Callback]:
    secret = first(settings["secrets"]).encode()

    def seal(body: bytes) -> Callback:
        digest = hmac.new(secret, b"%d.%b" % (NOW, body), hashlib.sha256).hexdigest()
        return Callback(method="POST", headers=[(b"stripe-signature", f"t={NOW},v1={digest}".encode())], body=body)

    return seal


def seal_standardwebhooks(settings: Mapping[str, object]) -> Callable[[bytes], Callback]:
    secret = b64decode(first(settings["secrets"]).removeprefix("whsec_"))

    def seal(body: bytes) -> Callback:
        digest = hmac.new(secret, b"msg_1.%d.%b" % (NOW, body), hashlib.sha256).digest()
        headers = [
            (b"webhook-id", b"msg_1"),
            (b"webhook-timestamp", b"%d" % NOW),
            (b"webhook-signature", b"v1," + b64encode(digest)),
        ]
        return Callback(method="POST", headers=headers, body=body)

    return seal


def seal_alipay(settings: Mapping[str, object]) -> Callable[[bytes], Callback]:
    key = private_key(settings)

    def seal(body: bytes) -> Callback:
        return alipay_form(key, dict(parse_qsl(body)))

    return seal


def alipay_form(
    key: RSAPrivateKey, form: Mapping[bytes, bytes], extra: Mapping[bytes, bytes] | None = None
) -> Callback:
    """A form with the signature of all in `form`; `extra` goes along unsigned."""
    content = b"&".join(name + b"=" + value for name, value in sorted(form.items()))
    sign = b64encode(key.sign(content, PKCS1v15(), SHA256()))
    body = urlencode({**form, **(extra or {}), b"sign": sign}).encode()
    return Callback(method="POST", headers=[(b"content-type", b"application/x-www-form-urlencoded")], body=body)


def seal_wechatpay(settings: Mapping[str, object]) -> Callable[[bytes], Callback]:
    key = private_key(settings)
    certificate = load_pem_x509_certificate(first(settings["certificates"]).encode())

    def seal(body: bytes) -> Callback:
        sign = key.sign(b"%d\nnonce\n%b\n" % (NOW, body), PKCS1v15(), SHA256())
        headers = [
            (b"wechatpay-serial", f"{certificate.serial_number:X}".encode()),
            (b"wechatpay-timestamp", b"%d" % NOW),
            (b"wechatpay-nonce", b"nonce"),
            (b"wechatpay-signature", b64encode(sign)),
        ]
        return Callback(method="POST", headers=headers, body=body)

    return seal


def wechatpay_body(kit: Kit, text: bytes, **changes: object) -> bytes:
    """A notification whose resource is `text`, encrypted."""
    return encrypted(str(kit.settings["api_v3_key"]), text, **changes)


def encrypted(api_v3_key: str, text: bytes, **changes: object) -> bytes:
    """WeChat Pay's notification with a resource that is any bytes at all."""
    cipher = AESGCM(api_v3_key.encode())
    resource = {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": b64encode(cipher.encrypt(b"twelve-bytes", text, b"transaction")).decode(),
        "associated_data": "transaction",
        "nonce": "twelve-bytes",
    }
    return json.dumps({"id": "EV-1", "event_type": "TRANSACTION.SUCCESS", "resource": resource, **changes}).encode()


def private_key(settings: Mapping[str, object]) -> RSAPrivateKey:
    """The RSA key that plays the provider."""
    key = load_pem_private_key(str(settings["signing_key"]).encode(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


def ed25519_key(settings: Mapping[str, object]) -> Ed25519PrivateKey:
    """The ed25519 key that plays the provider."""
    return Ed25519PrivateKey.from_private_bytes(b64decode(str(settings["signing_key"]).removeprefix("whsk_")))


def first(values: object) -> str:
    """The first of a list of strings."""
    assert isinstance(values, list)
    return str(values[0])


def header(callback: Callback, name: bytes) -> bytes:
    """The value of a header that is there."""
    return dict(callback.headers)[name]


def with_header(callback: Callback, name: bytes, *values: bytes) -> Callback:
    """The callback with `name` replaced by a header for each of `values`; none: it is gone."""
    headers = [pair for pair in callback.headers if pair[0] != name] + [(name, value) for value in values]
    return Callback(method=callback.method, headers=headers, body=callback.body, query=callback.query)


def with_body(callback: Callback, body: bytes) -> Callback:
    """The callback with another body under its old headers."""
    return Callback(method=callback.method, headers=callback.headers, body=body, query=callback.query)
