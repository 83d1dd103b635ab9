"""WeChat Pay, API v3: RSA-SHA256 over time, nonce and raw body; what it tells is encrypted with AES-256-GCM.

Sources: https://pay.weixin.qq.com/docs/merchant/development/interface-rules/build-verify-sign-src.html (signature),
https://pay.weixin.qq.com/doc/v3/merchant/4012647435 (a notification and its decryption), and the official SDK
wechatpay-go, whose time window (under 300 s) is taken over.

Stays the same on every resend: `id`, and what is told. Whether it is encrypted anew is not documented, so the
fingerprint covers the decrypted text. Nor is it said that `create_time` is kept, so the key carries no time.
"""

import datetime as dt
import json
import secrets
from binascii import b2a_base64
from collections.abc import Mapping
from typing import ClassVar, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, parse_exactly
from receiver.sources import documents, new_keys, signatures, times
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.fetched import KeyAnswer, KeyRequest, KeyWanted, PublishedKeys
from receiver.sources.options import Option
from receiver.sources.providers import wechatpay_keys, wechatpay_published
from receiver.sources.providers.wechatpay_resource import ALGORITHM, opened
from receiver.sources.samples.wechatpay import SAMPLES

TOLERANCE: Final = 300
"""Seconds; unlike with other providers exactly this old is too old already, as in the official SDK."""
SIGNATURE_TYPE: Final = b"WECHATPAY2-SHA256-RSA2048"
_PROBE: Final = b"WECHATPAY/SIGNTEST/"
"""WeChat sends callbacks with such signatures to see whether they are refused."""
_SERIAL: Final = b"wechatpay-serial"
_SIGNATURE: Final = b"wechatpay-signature"
_TIMESTAMP: Final = b"wechatpay-timestamp"
_NONCE: Final = b"wechatpay-nonce"
_SIGNATURE_TYPE: Final = b"wechatpay-signature-type"
_REQUIRED: Final = {
    _SIGNATURE: "signature_missing",
    _SERIAL: "serial_missing",
    _TIMESTAMP: "timestamp_missing",
    _NONCE: "nonce_missing",
}
_WANTED: Final = frozenset({*_REQUIRED, _SIGNATURE_TYPE})
_ENTITIES: Final = (
    "out_trade_no",
    "combine_out_trade_no",
    "transaction_id",
    "out_order_no",
    "order_id",
    "out_bill_no",
    "out_batch_no",
    "out_contract_code",
    "contract_id",
    "complaint_id",
    "coupon_id",
)
"""Where the object is named. The merchant's number of a payment comes first: it stands in paid, failed and refunded
alike, while a failed payment has no `transaction_id`, and all of one payment must share a lane."""
_PADDING: Final = PKCS1v15()
_HASH: Final = SHA256()


class WeChatPay(Provider, PublishedKeys):
    """One merchant number of WeChat Pay."""

    name: ClassVar[str] = "wechatpay"
    title: ClassVar[str] = "WeChat Pay"
    settings: ClassVar[Mapping[str, Setting]] = {
        "certificates": Setting(
            help="platform certificates in PEM; each verifies what names its serial number", many=True, key=True
        ),
        "public_keys": Setting(
            help="platform public keys in PEM, by their id (PUB_KEY_ID_…) or by a certificate's serial",
            mapping=True,
            key=True,
        ),
        "api_v3_key": Setting(
            help="the merchant's APIv3 key, 32 bytes (any length of an AES key is taken); "
            "several while it is being replaced",
            secret=True,
            many=True,
        ),
        "merchant_key": Setting(
            help="the merchant's own private key, with which platform certificates are fetched", secret=True
        ),
        "merchant_id": Setting(help="the merchant's number (mchid), for the same"),
        "merchant_serial": Setting(help="the serial number of the merchant's own certificate, for the same"),
        "signing_key": Setting(help="for tests: the private key, in PEM, that plays WeChat Pay", secret=True),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("certificates", "public_keys", "merchant_key"),
        ("api_v3_key",),
    )
    keep_headers: ClassVar[frozenset[bytes]] = _WANTED | {b"content-type", b"request-id"}
    # Payments 24 h 4 min; transfers 22 h 53 min.
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=25)
    called_per_payment: ClassVar[bool | None] = True
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)
    success: ClassVar[Ack] = Ack(status=204)
    signature_header = _SIGNATURE
    answer_headers = wechatpay_published.HEADERS
    timestamp_header = _TIMESTAMP
    time_window = dt.timedelta(seconds=TOLERANCE)
    differs = (("create_time",), ("summary",))
    about = About(
        signed="Time, nonce and raw body, each with a line end behind it, by RSA-SHA256 under the platform's key that "
        "`Wechatpay-Serial` names, in base64. The resource inside is encrypted with AES-256-GCM under the APIv3 key.",
        resends="`id` and the decrypted resource. Whether it is encrypted anew is not documented, so the fingerprint "
        "covers the decrypted text.",
        key="`id`. Payment and refund of one order have an id each.",
        retries="After 15, 15 and 30 seconds, 3, 10, 20, 30, 30, 30 and 60 minutes, 3, 3, 3, 6 and 6 hours.",
        sources=(
            "https://pay.weixin.qq.com/docs/merchant/development/interface-rules/build-verify-sign-src.html",
            "https://pay.weixin.qq.com/doc/v3/merchant/4012647435",
            "wechatpay-go; wechatpayv3 (Python)",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "EV-{china_day}{china_clock}{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Parse the keys."""
        self._verifiers = wechatpay_keys.verifiers(options)
        self._ciphers = wechatpay_keys.ciphers(options)
        self._published = wechatpay_published.Published(options, self._ciphers, self._verifiers)
        self._signer = wechatpay_keys.signer(options, self._verifiers)

    @classmethod
    def key_labels(cls, options: Mapping[str, Option]) -> tuple[str, ...]:
        """One for each serial, since a file may hold several certificates; and one for all that are fetched."""
        fetched = ("fetched",) if "merchant_key" in options else ()
        return wechatpay_keys.labels(options) + fetched

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """A platform certificate of our own."""
        key = new_keys.rsa_key()
        return {
            "certificates": [new_keys.certificate_pem(key)],
            "api_v3_key": secrets.token_hex(16),
            "signing_key": new_keys.private_pem(key),
        }

    def authenticate(self, callback: Callback, now: float) -> int:
        """Check the signature with the key that `Wechatpay-Serial` names."""
        found = signatures.headers(callback, _WANTED)
        for name, missing in _REQUIRED.items():
            if not found.get(name):
                raise VerificationError(missing)
        if found.get(_SIGNATURE_TYPE, SIGNATURE_TYPE) != SIGNATURE_TYPE:
            raise VerificationError("signature_type_unknown")
        signatures.within(signatures.timestamp(found[_TIMESTAMP]), now, TOLERANCE, edge=False)
        signature = None if found[_SIGNATURE].startswith(_PROBE) else signatures.strict_base64(found[_SIGNATURE])
        if signature is None:
            raise VerificationError("signature_malformed")
        verifier = self._verifier(wechatpay_keys.serial(found[_SERIAL].decode()), now)
        signed = b"%b\n%b\n%b\n" % (found[_TIMESTAMP], found[_NONCE], callback.body)
        try:
            verifier.key.verify(signature, signed, _PADDING, _HASH)
        except InvalidSignature:
            raise VerificationError("signature_mismatch") from None
        return verifier.index

    def _verifier(self, serial: str, now: float) -> wechatpay_keys.Verifier:
        """The key of that serial, configured or fetched."""
        verifier = self._verifiers.get(serial)
        if verifier is not None:
            return verifier
        fetched = self._published.key(serial, now)
        if fetched is not None:
            return wechatpay_keys.Verifier(len(self._verifiers), fetched)
        if self._published.may_have(serial):
            raise KeyWanted(serial, wechatpay_published.DOCUMENT)
        raise VerificationError("key_unknown")

    def request(self, document: str, now: float) -> KeyRequest:
        """There is one document: the list of all certificates."""
        del document
        return self._published.request(now)

    def accept(self, answer: KeyAnswer, now: float) -> None:
        """The list; dates are checked when a callback names a certificate."""
        del now
        self._published.accept(answer)

    def knows(self, key: str) -> bool:
        """By its serial."""
        return self._published.knows(key)

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One notification; `resource_undecryptable` asks for a resend, since our key is wrong, not the callback."""
        try:
            return (self._fact(documents.json_object(callback.body)),)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)

    def content(self, body: bytes) -> object:
        """The decrypted resource."""
        return parse_exactly(self.plaintext(documents.json_object(body)))

    def plaintext(self, document: Mapping[str, object]) -> bytes:
        """The decrypted resource of a callback, as WeChat wrote it.

        Raises:
            UnreadableError: `resource_missing`, `resource_malformed`, `resource_undecryptable`.
        """
        resource = document.get("resource")
        if resource is None:
            raise documents.UnreadableError("resource_missing")
        return opened(resource, self._ciphers)

    def render(self, payload: Mapping[str, object], now: float) -> bytes:
        """The payload with its `resource`, given in clear, encrypted."""
        message = dict(payload)
        if isinstance(message.get("resource"), Mapping):
            message["resource"] = self._seal(message)
        return super().render(message, now)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With the test key."""
        del beside
        if self._signer is None:
            raise SettingsError("signing_key: is needed to sign")
        sent, nonce = str(int(now)), secrets.token_hex(16)
        signature = self._signer.key.sign(f"{sent}\n{nonce}\n".encode() + body + b"\n", _PADDING, _HASH)
        headers = (
            ("Content-Type", "application/json"),
            ("Wechatpay-Serial", self._signer.serial),
            ("Wechatpay-Signature", b2a_base64(signature, newline=False).decode()),
            ("Wechatpay-Signature-Type", SIGNATURE_TYPE.decode()),
            ("Wechatpay-Timestamp", sent),
            ("Wechatpay-Nonce", nonce),
        )
        return Signed(headers=headers, body=body)

    def failure(self, reason: str) -> Mapping[str, str]:
        """What WeChat reads to call again; the status alone, 4xx or 5xx, would do."""
        return {"code": "FAIL", "message": reason}

    def _seal(self, message: Mapping[str, object]) -> dict[str, str]:
        if not self._ciphers:
            raise SettingsError("api_v3_key: is needed to encrypt the resource")
        kind = str(message.get("event_type", "")).partition(".")[0].lower()
        nonce = secrets.token_hex(6)
        text = json.dumps(message["resource"], separators=(",", ":"), ensure_ascii=False).encode()
        sealed = self._ciphers[0].encrypt(nonce.encode(), text, kind.encode())
        return {
            "original_type": kind,
            "algorithm": ALGORITHM,
            "ciphertext": b2a_base64(sealed, newline=False).decode(),
            "associated_data": kind,
            "nonce": nonce,
        }

    def _fact(self, document: dict[str, object]) -> Fact:
        external_id, id_odd = documents.identifier(document.get("id"), given="id" in document)
        type_, type_odd = documents.event_type(document.get("event_type"))
        text: bytes | None = None
        resource: dict[str, object] = {}
        resource_odd: str | None = None
        try:
            text = self.plaintext(document)
            resource = documents.json_object(text)
        except documents.UnreadableError as error:
            resource_odd = error.reason if text is None else f"resource_{error.reason}"
        undecryptable = resource_odd == "resource_undecryptable"
        return Fact(
            external_id=external_id,
            type=type_,
            entity_id=documents.entity(*(resource.get(name) for name in _ENTITIES)),
            occurred_at=times.from_iso(document.get("create_time")),
            key_time=0,
            fingerprint=None if text is None else documents.fingerprint((type_ or "").encode(), text),
            # Our own mistake comes first: once it is mended, a resend tells what else is odd.
            odd=resource_odd if undecryptable else id_odd or type_odd or resource_odd,
            retry=undecryptable,
        )
