"""Made-up keys: settings with which a source can verify and sign at once, for the demo and for tests."""

import base64
import datetime as dt
import secrets
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

_BITS: Final = 2048
_LIFE: Final = dt.timedelta(days=3650)
_BORN: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
"""Fixed, so that a certificate is valid whatever the clock says."""


def stripe() -> dict[str, object]:
    """Settings of a Stripe source with one secret."""
    return {"provider": "stripe", "secrets": ["whsec_" + secrets.token_hex(16)]}


def standardwebhooks() -> dict[str, object]:
    """Settings of a Standard Webhooks source that takes and sends both `v1` and `v1a`."""
    key = ed25519.Ed25519PrivateKey.generate()
    return {
        "provider": "standardwebhooks",
        "secrets": ["whsec_" + _base64(secrets.token_bytes(32))],
        "public_keys": ["whpk_" + _base64(key.public_key().public_bytes_raw())],
        "signing_key": "whsk_" + _base64(key.private_bytes_raw()),
    }


def alipay() -> dict[str, object]:
    """Settings of an Alipay source whose Alipay is ourselves."""
    key = rsa.generate_private_key(65537, _BITS)
    return {"provider": "alipay", "public_key": [_public_pem(key)], "signing_key": private_pem(key)}


def wechatpay() -> dict[str, object]:
    """Settings of a WeChat Pay source whose platform certificate is our own."""
    key = rsa.generate_private_key(65537, _BITS)
    return {
        "provider": "wechatpay",
        "certificates": [certificate_pem(key)],
        "api_v3_key": secrets.token_hex(16),
        "signing_key": private_pem(key),
    }


def private_pem(key: rsa.RSAPrivateKey) -> str:
    """`key` as it stands in a settings file."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def certificate_pem(key: rsa.RSAPrivateKey) -> str:
    """A self-signed certificate of `key`, valid for ten years."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "made up by receiver")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=_BORN,
        not_valid_after=_BORN + _LIFE,
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def _public_pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


MADE_UP: Final = {"stripe": stripe, "standardwebhooks": standardwebhooks, "alipay": alipay, "wechatpay": wechatpay}
"""A maker of settings for each provider."""
