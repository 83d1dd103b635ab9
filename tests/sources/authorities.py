"""Authorities of the tests' own: certificates with all that may be wrong with them. `receiver/sources` makes none."""

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BEGINS = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
ENDS = dt.datetime(2034, 1, 1, tzinfo=dt.UTC)
_CURVE = SECP256R1()


@dataclass(frozen=True)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey | RSAPrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()


def authority(
    name: str,
    by: Made | None = None,
    *,
    path_length: int | None = None,
    ca: bool = True,
    issue: bool | None = None,
    **dates: dt.datetime,
) -> Made:
    """What may issue others, issued by `by` or by itself."""
    key = ec_key(_CURVE)
    builder = _builder(name, key, by, **dates)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=ca, path_length=path_length if ca else None), critical=True
    )
    builder = builder.add_extension(usage(issue=ca if issue is None else issue), critical=True)
    return Made(builder.sign(by.key if by else key, SHA256()), key)


def leaf(
    name: str,
    key: RSAPrivateKey,
    by: Made | None,
    *,
    host: str | None = None,
    sign: bool = True,
    strange: bool = False,
    ca: bool = False,
    **dates: dt.datetime,
) -> Made:
    """What signs messages: issued by `by`, or by itself as an impostor's is."""
    builder = _builder(name, key, by, **dates)
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    builder = builder.add_extension(usage(sign=sign, issue=ca), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    if strange:
        unheard_of = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
        builder = builder.add_extension(unheard_of, critical=True)
    return Made(builder.sign(by.key if by else key, SHA256()), key)


def usage(*, sign: bool = False, issue: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=not (sign or issue),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issue,
        crl_sign=issue,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    name: str,
    key: EllipticCurvePrivateKey | RSAPrivateKey,
    by: Made | None,
    begins: dt.datetime = BEGINS,
    ends: dt.datetime = ENDS,
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key = (by.key if by else key).public_key()
    builder = x509.CertificateBuilder(
        issuer_name=by.certificate.subject if by else subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begins,
        not_valid_after=ends,
    )
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
