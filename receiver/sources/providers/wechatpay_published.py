"""WeChat Pay's platform certificates as its API publishes them: encrypted for the merchant, and signed."""

import re
import secrets
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

from receiver.errors import SettingsError, VerificationError
from receiver.sources import chains, documents, keys, signatures
from receiver.sources.fetched import KeyAnswer, KeyRequest
from receiver.sources.options import Option, text
from receiver.sources.providers.wechatpay_keys import Verifier, serial
from receiver.sources.providers.wechatpay_resource import opened

DOCUMENT: Final = "platform certificates"
HOST: Final = "api.mch.weixin.qq.com"
PATH: Final = "/v3/certificates"
SCHEME: Final = "WECHATPAY2-SHA256-RSA2048"
HEADERS: Final = frozenset({"wechatpay-serial", "wechatpay-signature", "wechatpay-timestamp", "wechatpay-nonce"})
_TOLERANCE: Final = 300
_SERIAL: Final = re.compile(r"[0-9A-F]{1,40}")
"""As certificates have them; the ids of public keys are published nowhere."""
_MOST: Final = 16


class _Key(NamedTuple):
    public: RSAPublicKey
    window: chains.Window


class Published:
    """What was fetched for one merchant, and how it is asked for.

    Args:
        options: of the source.
        ciphers: one for each APIv3 key.
        configured: keys out of the settings, which may sign the answer.

    Raises:
        SettingsError: one of the three settings is missing or wrong.
    """

    def __init__(
        self, options: Mapping[str, Option], ciphers: Sequence[AESGCM], configured: Mapping[str, Verifier]
    ) -> None:
        self._ciphers = ciphers
        self._configured = configured
        self._key = keys.rsa_signing_key(options, "merchant_key")
        self._id, self._serial = text(options, "merchant_id") or "", text(options, "merchant_serial") or ""
        for name, value in {"merchant_id": self._id, "merchant_serial": self._serial}.items():
            if bool(value) != (self._key is not None):
                raise SettingsError(f"{name}: belongs together with merchant_key")
            if not re.fullmatch(r"[0-9A-Za-z]*", value):
                raise SettingsError(f"{name}: has letters and digits only")
        self._known: dict[str, _Key] = {}

    def may_have(self, name: str) -> bool:
        """Whether a key of that serial may be fetched."""
        return self._key is not None and _SERIAL.fullmatch(name) is not None

    def key(self, name: str, now: float) -> RSAPublicKey | None:
        """The key of that serial, if it was fetched. Raises VerificationError, `certificate_expired`."""
        known = self._known.get(name)
        if known is None:
            return None
        known.window.check(now)
        return known.public

    def knows(self, name: str) -> bool:
        """Whether it was fetched."""
        return name in self._known

    def request(self, now: float) -> KeyRequest:
        """The list of all, signed by the merchant at `now` (Unix seconds)."""
        if self._key is None:
            raise SettingsError("merchant_key: is needed to fetch certificates")
        sent, nonce = int(now), secrets.token_hex(16).upper()
        signature = self._key.sign(f"GET\n{PATH}\n{sent}\n{nonce}\n\n".encode(), PKCS1v15(), SHA256())
        authorization = (
            f'{SCHEME} mchid="{self._id}",nonce_str="{nonce}",'
            f'signature="{b2a_base64(signature, newline=False).decode()}",'
            f'timestamp="{sent}",serial_no="{self._serial}"'
        )
        return KeyRequest(host=HOST, path=PATH, headers={"Accept": "application/json", "Authorization": authorization})

    def accept(self, answer: KeyAnswer) -> None:
        """Decrypt the certificates, and check with them, or with those that are configured, who signed the list.

        Raises:
            VerificationError: `certificate_malformed`, `certificate_untrusted`.
        """
        found = self._decrypted(answer.body)
        name = serial(answer.headers.get("wechatpay-serial", ""))
        if name in found:
            public = found[name].public
        elif name in self._configured:
            public = self._configured[name].key
        else:
            raise VerificationError("certificate_untrusted")
        _check(answer, public)
        self._known |= found  # what was kept of before may be older: it takes nothing away

    def _decrypted(self, body: bytes) -> dict[str, _Key]:
        try:
            listed = documents.member(documents.json_object(body), "data")
            items = listed if isinstance(listed, list) else []
            found = [
                x509.load_pem_x509_certificate(opened(documents.member(item, "encrypt_certificate"), self._ciphers))
                for item in items[:_MOST]
            ]
            return {serial(f"{certificate.serial_number:X}"): _usable(certificate) for certificate in found}
        except documents.UnreadableError as error:
            undecryptable = error.reason == "resource_undecryptable"
            raise VerificationError("certificate_untrusted" if undecryptable else "certificate_malformed") from None
        except chains.UNREADABLE:
            raise VerificationError("certificate_malformed") from None


def _usable(certificate: x509.Certificate) -> _Key:
    public = certificate.public_key()
    if not isinstance(public, RSAPublicKey):
        raise VerificationError("certificate_untrusted")
    return _Key(public, chains.window(certificate))


def _check(answer: KeyAnswer, public: RSAPublicKey) -> None:
    """The signature over the answer, and that it was made when it came."""
    sent, nonce = (answer.headers.get(f"wechatpay-{part}", "").encode() for part in ("timestamp", "nonce"))
    signature = signatures.strict_base64(answer.headers.get("wechatpay-signature", "").encode())
    try:
        signatures.within(signatures.timestamp(sent), answer.at, _TOLERANCE, edge=False)
        public.verify(signature or b"", b"%b\n%b\n%b\n" % (sent, nonce, answer.body), PKCS1v15(), SHA256())
    except (InvalidSignature, VerificationError):
        raise VerificationError("certificate_untrusted") from None
