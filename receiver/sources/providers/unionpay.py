"""UnionPay: a form signed with RSA-SHA256 over the hash of its sorted parameters, with the certificate inside."""

import datetime as dt
import hashlib
from binascii import b2a_base64
from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple
from urllib.parse import urlencode

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import chains, documents, forms, keys, new_keys, signatures, times
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.options import Option, text
from receiver.sources.samples.unionpay import SAMPLES
from receiver.sources.template import SHANGHAI

COMPANY: Final = "中国银联股份有限公司"
"""The third part of the name in UnionPay's certificates, by which its SDKs know them."""
_SIGNATURE: Final = b"signature"
_CERTIFICATE: Final = b"signPubKeyCert"
_PINNED: Final = {b"signMethod": b"01", b"version": b"5.1.0"}
"""RSA with SHA-256. Older versions sign with SHA-1, other methods with a shared key or with SM3."""
_IDENTITY: Final = ("merId", "orderId", "txnTime", "txnType", "respCode")
_NAME_PARTS: Final = 4
_LONGEST_CERTIFICATE: Final = 8192
_MOST_LEAVES: Final = 16
_PADDING: Final = PKCS1v15()
_HASH: Final = SHA256()
_Form = Mapping[bytes, bytes]


class _Leaf(NamedTuple):
    key: RSAPublicKey
    window: chains.Window
    root: int


class UnionPay(Provider):
    """One merchant number of UnionPay."""

    name: ClassVar[str] = "unionpay"
    title: ClassVar[str] = "UnionPay"
    settings: ClassVar[Mapping[str, Setting]] = {
        "roots": Setting(help="CFCA's root certificates in PEM, out of UnionPay's package", many=True, key=True),
        "intermediates": Setting(help="CFCA's intermediate certificates in PEM, likewise", many=True),
        "company": Setting(help=f"whom the signing certificate must name; default {COMPANY}"),
        "signing_key": Setting(help="for tests: the private key, in PEM, that plays UnionPay", secret=True),
        "signing_certificate": Setting(help="for tests: its certificate in PEM, which messages carry"),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("roots",),)
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type"})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=24)  # not documented; a cautious guess
    called_per_payment: ClassVar[bool | None] = True
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)  # the same
    signature_member = ("signature",)
    success: ClassVar[Ack] = Ack(status=200, body=b"ok", content_type="text/plain")
    about = About(
        signed="All parameters but `signature`: RSA with SHA-256 signs the hexadecimal SHA-256 of them, sorted. "
        "The certificate is the parameter `signPubKeyCert`; it must lead to one of the configured roots, be valid now, "
        "and name UnionPay: merchants have certificates of the same authority.",
        resends="What changes is not documented, so there is no fingerprint; the parts of the key are the order's own.",
        key="`merId`, `orderId`, `txnTime`, `txnType` and `respCode`: a message has no id. A refund and a cancellation "
        "have order numbers and types of their own, and a success after a failure another code.",
        retries="Not documented in public; until it has heard status 200.",
        sources=(
            "UnionPay's SDKs (`AcpService.validate`, `CertUtil.verifyCertificate`, `UNIONPAY_CNNAME`)",
            "https://github.com/yansongda/pay, `Unipay`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{china_day}{china_clock}{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Parse the certificates; intermediates are checked here, once."""
        roots, intermediates = (keys.whole_certificates(options, name) for name in ("roots", "intermediates"))
        self._issuers = chains.Issuers(roots, intermediates, setting="intermediates")
        self._company = text(options, "company") or COMPANY
        self._signing_key = keys.rsa_signing_key(options, "signing_key")
        self._signing_certificate = (text(options, "signing_certificate") or "").strip().encode()
        if (self._signing_key is None) != (not self._signing_certificate):
            raise SettingsError("signing_certificate: belongs together with signing_key")
        self._leaves: dict[bytes, _Leaf] = {}

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """A chain whose UnionPay is ourselves."""
        chain = new_keys.chain(f"041@8310000000083040@{COMPANY}@00016495", host=False)
        return {
            "roots": [chain.root],
            "intermediates": [chain.intermediate],
            "signing_key": new_keys.private_pem(chain.key),
            "signing_certificate": chain.leaf,
        }

    def authenticate(self, callback: Callback, now: float) -> int:
        """Check chain, dates and name of the certificate in the message, then the signature."""
        try:
            form = forms.parsed(callback.body)
        except documents.UnreadableError as error:
            raise VerificationError(error.reason) from None
        sent = form.get(_SIGNATURE)
        if not sent:
            raise VerificationError("signature_missing")
        signature = signatures.strict_base64(sent)
        if signature is None:
            raise VerificationError("signature_malformed")
        if any(form.get(name) != value for name, value in _PINNED.items()):
            raise VerificationError("signature_type_unknown")
        leaf = self._leaf(form.get(_CERTIFICATE, b""))
        leaf.window.check(now)
        try:
            leaf.key.verify(signature, _signed(form), _PADDING, _HASH)
        except InvalidSignature:
            raise VerificationError("signature_mismatch") from None
        return leaf.root

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One notification."""
        try:
            form = forms.parsed(callback.body)
            forms.check_one_reading((name, value) for name, value in form.items() if name != _SIGNATURE)
            return (_fact(_strings(callback.body)),)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)

    def content(self, body: bytes) -> object:
        """The parameters as strings, without the empty ones and those of the signature."""
        return {
            name: value
            for name, value in _strings(body).items()
            if name not in {_SIGNATURE.decode(), _CERTIFICATE.decode()}
        }

    def render(self, payload: Mapping[str, object], now: float) -> bytes:
        """A form, in the encoding that the payload names."""
        del now
        encoding = str(payload.get("encoding", "UTF-8"))
        return urlencode(
            {name.encode(encoding): str(value).encode(encoding) for name, value in payload.items()}
        ).encode()

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """A form, with certificate and signature."""
        del now, beside
        if self._signing_key is None:
            raise SettingsError("signing_key: is needed to sign")
        form = {**forms.parsed(body), **_PINNED, _CERTIFICATE: self._signing_certificate}
        form[_SIGNATURE] = b2a_base64(self._signing_key.sign(_signed(form), _PADDING, _HASH), newline=False)
        headers = (("Content-Type", "application/x-www-form-urlencoded;charset=utf-8"),)
        return Signed(headers=headers, body=urlencode(form).encode())

    def _leaf(self, sent: bytes) -> _Leaf:
        """The certificate in a message, if it is UnionPay's. Its dates are left to the caller, who knows the time.

        Raises:
            VerificationError: `certificate_missing`, `certificate_malformed`, `certificate_untrusted`.
        """
        known = self._leaves.get(sent)
        if known is not None:
            return known
        if not sent:
            raise VerificationError("certificate_missing")
        if len(sent) > _LONGEST_CERTIFICATE:
            raise VerificationError("certificate_malformed")
        try:
            leaf = self._checked(x509.load_pem_x509_certificate(sent))
        except chains.UNREADABLE:
            raise VerificationError("certificate_malformed") from None
        # Only UnionPay's own come this far. Several live at once while one is being replaced.
        if len(self._leaves) >= _MOST_LEAVES:
            self._leaves.clear()
        self._leaves[sent] = leaf
        return leaf

    def _checked(self, certificate: x509.Certificate) -> _Leaf:
        root, window = self._issuers.leads(certificate)
        key = certificate.public_key()
        if not self._is_unionpay(certificate) or not isinstance(key, RSAPublicKey):
            raise VerificationError("certificate_untrusted")
        return _Leaf(key, window, root)

    def _is_unionpay(self, certificate: x509.Certificate) -> bool:
        names = [name.split("@") for name in chains.common_names(certificate)]
        return len(names) == 1 and len(names[0]) == _NAME_PARTS and names[0][2] == self._company


def _signed(form: _Form) -> bytes:
    pairs = [b"%b=%b" % pair for pair in sorted(form.items()) if pair[0] != _SIGNATURE]
    return hashlib.sha256(b"&".join(pairs)).hexdigest().encode()


def _strings(body: bytes) -> dict[str, str]:
    form = forms.parsed(body)
    return forms.strings(form, form.get(b"encoding") or b"utf-8")


def _fact(strings: Mapping[str, str]) -> Fact:
    parts = [strings.get(name, "") for name in _IDENTITY]
    # A colon in a part would let two messages share an id; UnionPay's numbers have none.
    whole = ":".join(parts) if all(parts) and not any(":" in part for part in parts) else ""
    external_id, id_odd = documents.identifier(whole)
    type_, type_odd = documents.event_type(f"txnType={strings.get('txnType')} respCode={strings.get('respCode')}")
    nul = "text_nul" if any("\0" in part for pair in strings.items() for part in pair) else None
    occurred_at = _time(strings.get("txnTime", ""))
    return Fact(
        external_id=external_id,
        type=type_,
        # Of a refund or a cancellation the payment, so that all of one payment share a lane.
        entity_id=documents.entity(strings.get("origQryId"), strings.get("queryId"), strings.get("orderId")),
        occurred_at=occurred_at,
        # It is a part of the id, and so as constant as that.
        key_time=times.to_unix(occurred_at),
        fingerprint=None,
        odd=nul or id_odd or type_odd,
    )


def _time(text: str) -> dt.datetime | None:
    """`YYYYMMDDhhmmss`, Beijing's time."""
    if not (len(text) == 14 and text.isascii() and text.isdigit()):  # noqa: PLR2004  its digits
        return None
    return times.from_iso(f"{text[:8]}T{text[8:]}", SHANGHAI)
