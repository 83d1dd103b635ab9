"""One account of each provider with made-up keys, and any body signed by hand, now."""

import hashlib
import hmac
import itertools
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlencode

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from receiver.settings import made
from receiver.sources import Source, build_sources, made_up
from tests.ingress.wire import Header, request

NAMES = ("stripe", "standardwebhooks", "alipay", "wechatpay")
JSON_NAMES = ("stripe", "standardwebhooks", "wechatpay")
SIGNATURE = {
    "stripe": b"stripe-signature",
    "standardwebhooks": b"webhook-signature",
    "wechatpay": b"wechatpay-signature",
}
"""Where the signature stands; Alipay's is a parameter of the form."""
_numbers = itertools.count(int(time.time() * 1000))


@dataclass(frozen=True)
class Sent:
    """A callback on its way."""

    path: str
    headers: tuple[Header, ...]
    body: bytes
    external_id: str = ""

    @property
    def raw(self) -> bytes:
        """The whole request."""
        return request(self.path, self.headers, self.body)

    def header(self, name: bytes) -> bytes:
        """The value of a header that is there."""
        return dict(self.headers)[name]

    def with_header(self, name: bytes, *values: bytes) -> "Sent":
        """With `name` replaced by a header for each of `values`; none: it is gone."""
        kept = tuple(pair for pair in self.headers if pair[0] != name)
        return replace(self, headers=(*kept, *((name, value) for value in values)))

    def with_body(self, body: bytes) -> "Sent":
        """With another body under the old headers."""
        return replace(self, body=body)


@dataclass(frozen=True)
class Account:
    """A configured source, and the provider on the other side of it."""

    name: str
    settings: Mapping[str, object]
    source: Source
    _seal: Callable[[bytes], tuple[list[Header], bytes]] = field(repr=False)

    @property
    def path(self) -> str:
        """Where callbacks are sent."""
        return f"/callbacks/{self.name}"

    def sample(self, what: str = "paid", **changes: object) -> dict[str, object]:
        """A payload with an id that no other has."""
        provider, now = self.source.provider, int(time.time())
        unique = str(next(_numbers))
        event = provider.sample_id(unique, now)
        return {**provider.sample(what, external_id=event, entity_id=f"order{unique}", created=now), **changes}

    def sent(self, what: str = "paid", **changes: object) -> Sent:
        """A sample, signed by the provider's own `sign`."""
        return self.signed(self.sample(what, **changes))

    def signed(self, payload: Mapping[str, object], now: float | None = None) -> Sent:
        """A payload, signed now or at another time."""
        signed = self.source.sign(payload, now or time.time())
        headers = tuple((name.lower().encode(), value.encode()) for name, value in signed.headers)
        return Sent(self.path, headers, signed.body, str(payload.get("id", payload.get("notify_id", ""))))

    def sealed(self, body: bytes) -> Sent:
        """Any bytes at all, signed by hand, not by the code under test. Alipay: a form without `sign`."""
        headers, whole = self._seal(body)
        return Sent(self.path, tuple(headers), whole)


def make_accounts() -> dict[str, Account]:
    """An account of each provider, called as its provider."""
    settings = {name: made_up(name) for name in NAMES}
    return accounts_of(settings)


def accounts_of(settings: Mapping[str, Mapping[str, object]]) -> dict[str, Account]:
    """The accounts of these sections of a settings file."""
    sources = build_sources(made(sources=settings), Path())
    return {
        name: Account(name, own, sources[name], SEALERS[str(own["provider"])](own)) for name, own in settings.items()
    }


def first(values: object) -> str:
    """The first of a list of strings."""
    assert isinstance(values, list)
    return str(values[0])


def private_key(settings: Mapping[str, object]) -> RSAPrivateKey:
    """The RSA key that plays the provider."""
    key = load_pem_private_key(str(settings["signing_key"]).encode(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


def _stripe(settings: Mapping[str, object]) -> Callable[[bytes], tuple[list[Header], bytes]]:
    secret = first(settings["secrets"]).encode()

    def seal(body: bytes) -> tuple[list[Header], bytes]:
        now = b"%d" % time.time()
        digest = hmac.new(secret, now + b"." + body, hashlib.sha256).hexdigest().encode()
        return [(b"stripe-signature", b"t=" + now + b",v1=" + digest)], body

    return seal


def _standardwebhooks(settings: Mapping[str, object]) -> Callable[[bytes], tuple[list[Header], bytes]]:
    secret = b64decode(first(settings["secrets"]).removeprefix("whsec_"))

    def seal(body: bytes) -> tuple[list[Header], bytes]:
        message, now = b"msg_%d" % next(_numbers), b"%d" % time.time()
        digest = hmac.new(secret, b".".join([message, now, body]), hashlib.sha256).digest()
        signature = b"v1," + b64encode(digest)
        return [
            (b"webhook-id", message),
            (b"webhook-timestamp", now),
            (b"webhook-signature", signature),
        ], body

    return seal


def _alipay(settings: Mapping[str, object]) -> Callable[[bytes], tuple[list[Header], bytes]]:
    key = private_key(settings)

    def seal(body: bytes) -> tuple[list[Header], bytes]:
        pairs = (part.replace(b"+", b" ").partition(b"=") for part in body.split(b"&"))
        form = {unquote_to_bytes(name): unquote_to_bytes(value) for name, _, value in pairs}
        content = b"&".join(name + b"=" + value for name, value in sorted(form.items()))
        sign = b64encode(key.sign(content, PKCS1v15(), SHA256()))
        whole = urlencode({**form, b"sign": sign, b"sign_type": b"RSA2"}).encode()
        return [(b"content-type", b"application/x-www-form-urlencoded")], whole

    return seal


def _wechatpay(settings: Mapping[str, object]) -> Callable[[bytes], tuple[list[Header], bytes]]:
    key = private_key(settings)
    certificate = load_pem_x509_certificate(first(settings["certificates"]).encode())

    def seal(body: bytes) -> tuple[list[Header], bytes]:
        now, nonce = b"%d" % time.time(), b"nonce"
        sign = key.sign(b"%b\n%b\n%b\n" % (now, nonce, body), PKCS1v15(), SHA256())
        return [
            (b"wechatpay-serial", f"{certificate.serial_number:X}".encode()),
            (b"wechatpay-timestamp", now),
            (b"wechatpay-nonce", nonce),
            (b"wechatpay-signature", b64encode(sign)),
        ], body

    return seal


SEALERS = {"stripe": _stripe, "standardwebhooks": _standardwebhooks, "alipay": _alipay, "wechatpay": _wechatpay}
