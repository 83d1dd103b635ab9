"""PayPal: RSA-SHA256 over id, time, webhook and the CRC32 of the body; the certificate is fetched from an address."""

import datetime as dt
import uuid
import zlib
from binascii import b2a_base64
from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import keys, new_keys, signatures
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.fetched import KeyAnswer, KeyRequest, KeyWanted, PublishedKeys
from receiver.sources.layout import Layout
from receiver.sources.options import Option
from receiver.sources.providers import paypal_keys
from receiver.sources.samples.paypal import SAMPLES

ALGORITHM: Final = b"SHA256withRSA"
_ID: Final = b"paypal-transmission-id"
_TIME: Final = b"paypal-transmission-time"
_SIGNATURE: Final = b"paypal-transmission-sig"
_ADDRESS: Final = b"paypal-cert-url"
_ALGORITHM: Final = b"paypal-auth-algo"
_REQUIRED: Final = {
    _SIGNATURE: "signature_missing",
    _ID: "id_missing",
    _TIME: "timestamp_missing",
    _ADDRESS: "certificate_address_missing",
    _ALGORITHM: "signature_type_missing",
}
_WANTED: Final = frozenset(_REQUIRED)
_MADE_UP: Final = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-made-up"
_PADDING: Final = PKCS1v15()
_HASH: Final = SHA256()


class PayPal(Provider, PublishedKeys):
    """One webhook of a PayPal application."""

    name: ClassVar[str] = "paypal"
    title: ClassVar[str] = "PayPal"
    settings: ClassVar[Mapping[str, Setting]] = {
        "webhook_id": Setting(
            help="the webhook's id, as PayPal shows it; several while one replaces another", many=True, key=True
        ),
        "roots": Setting(help="roots in PEM that PayPal's certificates lead to; default: DigiCert's", many=True),
        "intermediates": Setting(help="certificates in PEM between those, if PayPal does not send them", many=True),
        "certificates": Setting(
            help="certificates in PEM, by the address that PayPal publishes them at, which need not be fetched then",
            mapping=True,
        ),
        "client_id": Setting(help='for confirm = "provider": the application that the webhook belongs to'),
        "client_secret": Setting(help='for confirm = "provider": its secret', secret=True),
        "api_url": Setting(help="where the API is; default: https://api-m.paypal.com"),
        "signing_key": Setting(
            help="for tests: the private key, in PEM, of the first of the certificates, that plays PayPal", secret=True
        ),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("webhook_id",),)
    keep_headers: ClassVar[frozenset[bytes]] = _WANTED | {b"content-type"}
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=3)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)  # not documented; a cautious guess
    success: ClassVar[Ack] = Ack(status=200)
    trust: ClassVar[Trust] = "partial"
    signature_header = _SIGNATURE
    about = About(
        signed="The id and the time of the transmission, the webhook's id, and the CRC32 of the raw body, by RSA with "
        "SHA-256. The certificate is published at the address in `PAYPAL-CERT-URL`; it counts if the host is PayPal's, "
        "and if it leads to DigiCert's roots, is valid now and is called `messageverificationcerts.paypal.com` (or "
        "`….sandbox.paypal.com`, from the sandbox's hosts).",
        unsigned="The body itself. CRC32 is no protection: who has one callback, with its headers, can write any other "
        'body that has the same sum. Keep captured callbacks secret, and say `confirm = "provider"`.',
        resends="The event's id stays the same; each transmission may have an id and a time of its own. What else "
        "changes is not documented, so there is no fingerprint.",
        key="The event's `id`.",
        retries="Up to 25 times within three days, in no promised order.",
        sources=(
            "https://developer.paypal.com/api/rest/webhooks/rest/",
            "PayPal-Java-SDK, `SSLUtil` and `Event`; PayPal-Python-SDK, `notifications.py`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "WH-{unique}-MADE-UP"
    layout: ClassVar[Layout] = Layout(
        id=("id",),
        type=("event_type",),
        entities=(("resource", "id"), ("resource", "dispute_id")),
        occurred_at=("create_time",),
    )

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Parse certificates; what they lead to is checked when a callback says at what time."""
        self._webhooks = [webhook.encode() for webhook in keys.secrets(options, "webhook_id")]
        self._certificates = paypal_keys.Certificates(options)
        self._signing_key = keys.rsa_signing_key(options, "signing_key")
        if self._signing_key is not None and self._certificates.first is None:
            raise SettingsError("signing_key: wants its certificate in certificates")

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """A chain whose PayPal is ourselves; nothing needs to be fetched."""
        chain = new_keys.chain(paypal_keys.SANDBOX, host=True)
        return {
            "webhook_id": ["1JE4291016473214C"],
            "roots": [chain.root],
            "certificates": {_MADE_UP: chain.leaf + chain.intermediate},
            "signing_key": new_keys.private_pem(chain.key),
        }

    def authenticate(self, callback: Callback, now: float) -> int:
        """Check the signature with the key that `PAYPAL-CERT-URL` names. PayPal sets no limit to a callback's age."""
        found = signatures.headers(callback, _WANTED)
        for name, missing in _REQUIRED.items():
            if not found.get(name):
                raise VerificationError(missing)
        if found[_ALGORITHM] != ALGORITHM:
            raise VerificationError("signature_type_unknown")
        signature = signatures.strict_base64(found[_SIGNATURE])
        if signature is None:
            raise VerificationError("signature_malformed")
        address = found[_ADDRESS].decode()
        paypal_keys.split(address)
        key = self._certificates.key(address, now)
        if key is None:
            raise KeyWanted(address, address)
        for index, webhook in enumerate(self._webhooks):
            try:
                key.verify(signature, _signed(found[_ID], found[_TIME], webhook, callback.body), _PADDING, _HASH)
            except InvalidSignature:
                continue
            return index
        raise VerificationError("signature_mismatch")

    def request(self, document: str, now: float) -> KeyRequest:
        """The certificate at that address."""
        del now
        return paypal_keys.request(document)

    def accept(self, answer: KeyAnswer, now: float) -> None:
        """A leaf in PEM, and what stands between it and the root."""
        self._certificates.learn(answer.document, answer.body, now)

    def knows(self, key: str) -> bool:
        """By its address."""
        return self._certificates.knows(key)

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event; whether it is of the sandbox is told by whose certificate signed it."""
        (fact,) = self.layout.read(callback, self.trust)
        return (msgspec.structs.replace(fact, livemode=_livemode(callback)),)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With the test key, for the newest webhook."""
        del beside
        if self._signing_key is None or self._certificates.first is None:
            raise SettingsError("signing_key: is needed to sign")
        if not self._webhooks:
            raise SettingsError("webhook_id: is needed to sign")
        sent = uuid.uuid4().hex
        time = dt.datetime.fromtimestamp(int(now), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        signed = _signed(sent.encode(), time.encode(), self._webhooks[0], body)
        signature = b2a_base64(self._signing_key.sign(signed, _PADDING, _HASH), newline=False)
        headers = (
            ("Content-Type", "application/json"),
            ("PAYPAL-TRANSMISSION-ID", sent),
            ("PAYPAL-TRANSMISSION-TIME", time),
            ("PAYPAL-TRANSMISSION-SIG", signature.decode()),
            ("PAYPAL-CERT-URL", self._certificates.first),
            ("PAYPAL-AUTH-ALGO", ALGORITHM.decode()),
        )
        return Signed(headers=headers, body=body)


def _signed(sent: bytes, time: bytes, webhook: bytes, body: bytes) -> bytes:
    return b"%b|%b|%b|%d" % (sent, time, webhook, zlib.crc32(body))


def _livemode(callback: Callback) -> bool | None:
    address = signatures.first(callback, _ADDRESS)
    try:
        host, _ = paypal_keys.split(address.decode("ascii", "replace"))
    except VerificationError:
        return None
    return paypal_keys.NAMES[host] == paypal_keys.LIVE
