"""Keys of our own making, in the spellings that settings take: for the demo and for tests."""

import datetime as dt
import secrets
from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_BITS: Final = 2048
_CURVE: Final = ec.SECP256R1()
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


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A signing certificate that leads over an intermediate to a root, all of our own making, valid for ten years."""

    root: str
    """PEM, like the others."""
    intermediate: str
    leaf: str
    key: rsa.RSAPrivateKey
    """The leaf's."""


def chain(common_name: str, *, host: bool) -> Chain:
    """A new one.

    Args:
        common_name: the leaf's.
        host: whether that is the name of a host, so that the leaf must name it a second time.
    """
    root_key, middle_key, key = ec.generate_private_key(_CURVE), ec.generate_private_key(_CURVE), rsa_key()
    root_name, middle_name, name = (
        _named("root made up by receiver"),
        _named("made up by receiver"),
        _named(common_name),
    )
    root = _issuing(_unsigned(root_name, root_name, root_key.public_key(), root_key.public_key()))
    middle = _issuing(_unsigned(middle_name, root_name, middle_key.public_key(), root_key.public_key()))
    leaf = _signing(_unsigned(name, middle_name, key.public_key(), middle_key.public_key()))
    if host:
        leaf = leaf.add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
    return Chain(
        root=pem(root.sign(root_key, SHA256())),
        intermediate=pem(middle.sign(root_key, SHA256())),
        leaf=pem(leaf.sign(middle_key, SHA256())),
        key=key,
    )


def pem(certificate: x509.Certificate) -> str:
    """As it stands in a settings file."""
    return certificate.public_bytes(Encoding.PEM).decode()


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


_Public = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def _unsigned(subject: x509.Name, issuer: x509.Name, key: _Public, by: _Public) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=_BORN,
        not_valid_after=_BORN + _LIFE,
    )
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by), critical=False)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _issuing(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    usage = _usage(sign=False, issue=True)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(
        usage, critical=True
    )


def _signing(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    return builder.add_extension(_usage(sign=True, issue=False), critical=True).add_extension(extended, critical=False)


def _usage(*, sign: bool, issue: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issue,
        crl_sign=issue,
        encipher_only=False,
        decipher_only=False,
    )


def public_pem(key: rsa.RSAPrivateKey) -> str:
    """Its public half, likewise."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def base64(raw: bytes) -> str:
    """`raw` as text."""
    return b64encode(raw).decode()
