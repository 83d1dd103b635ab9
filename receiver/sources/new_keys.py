"""Keys of our own making, in the spellings that settings take: for the demo and for tests."""

import datetime as dt
import secrets
from base64 import b64encode
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

_BITS: Final = 2048
_LIFE: Final = dt.timedelta(days=3650)
_BORN: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
"""Fixed, so that a certificate is valid whatever the clock says."""


def secret() -> str:
    """A shared secret: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def rsa_key() -> rsa.RSAPrivateKey:
    """A new key."""
    return rsa.generate_private_key(65537, _BITS)


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


def public_pem(key: rsa.RSAPrivateKey) -> str:
    """Its public half, likewise."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def base64(raw: bytes) -> str:
    """`raw` as text."""
    return b64encode(raw).decode()
