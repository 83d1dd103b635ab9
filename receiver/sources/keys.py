"""Keys as people paste them into settings, parsed once; every mistake is an error that names the setting."""

import binascii
from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from receiver.errors import SettingsError
from receiver.sources.options import Option, text, texts

_ED25519_BYTES = 32
_UNPARSABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def secrets(options: Mapping[str, Option], name: str) -> list[str]:
    """Shared secrets that are used as they are written.

    Raises:
        SettingsError: one is empty or has white space around it, which no provider issues and nobody would see.
    """
    found = texts(options, name)
    for index, secret in enumerate(found):
        _check_visible(secret, f"{name}[{index}]")
    return list(found)


def secret_bytes(secret: str, encoding: str, setting: str) -> bytes:
    """The bytes of the key that `secret` writes.

    Args:
        secret: as it stands in the settings.
        encoding: `text`, `hex` or `base64`.
        setting: its name, for errors.

    Raises:
        SettingsError: it is not written so.
    """
    if encoding == "base64":
        return _decoded(secret, setting)
    if encoding == "text":
        return secret.encode()
    try:
        return bytes.fromhex(secret if secret.isalnum() else "no digits")
    except ValueError:
        raise SettingsError(f"{setting}: is no hexadecimal") from None


def base64_secrets(options: Mapping[str, Option], name: str) -> list[bytes]:
    """Shared secrets in base64, padded or not, with or without `whsec_`."""
    return [
        _decoded(secret.removeprefix("whsec_"), f"{name}[{index}]")
        for index, secret in enumerate(secrets(options, name))
    ]


def ed25519_public_keys(options: Mapping[str, Option], name: str) -> list[Ed25519PublicKey]:
    """Keys in base64, with or without `whpk_`."""
    found = []
    for index, value in enumerate(texts(options, name)):
        setting = f"{name}[{index}]"
        _check_visible(value, setting)
        raw = _decoded(value.removeprefix("whpk_"), setting)
        if len(raw) != _ED25519_BYTES:
            raise SettingsError(f"{setting}: is {len(raw)} bytes long, an ed25519 public key has {_ED25519_BYTES}")
        found.append(Ed25519PublicKey.from_public_bytes(raw))
    return found


def ed25519_signing_key(
    options: Mapping[str, Option], name: str, public_keys: Sequence[Ed25519PublicKey]
) -> Ed25519PrivateKey | None:
    """The key in base64, with or without `whsk_`: its 32 bytes, or these and the public key behind them."""
    value = text(options, name)
    if value is None:
        return None
    _check_visible(value, name)
    raw = _decoded(value.removeprefix("whsk_"), name)
    if len(raw) not in (_ED25519_BYTES, 2 * _ED25519_BYTES):
        raise SettingsError(f"{name}: is {len(raw)} bytes long, an ed25519 key has 32, or 64 with its public key")
    key = Ed25519PrivateKey.from_private_bytes(raw[:_ED25519_BYTES])
    if key.public_key() not in public_keys:
        raise SettingsError(f"{name}: belongs to none of the public keys")
    return key


def rsa_public_key(value: str, setting: str) -> RSAPublicKey:
    """A key from a PEM public key, a PEM certificate (the first of a chain), or the base64 inside of a public key."""
    if "BEGIN CERTIFICATE" in value:
        return certificates(value, setting)[0][1]
    try:
        key = serialization.load_pem_public_key(_as_pem(value, "PUBLIC KEY").encode())
    except _UNPARSABLE:
        raise SettingsError(f"{setting}: is no public key (PEM, its base64, or a PEM certificate)") from None
    return _rsa(key, setting)


def certificates(value: str, setting: str) -> list[tuple[int, RSAPublicKey]]:
    """The serial number and the key of every certificate in `value`, in its order."""
    try:
        found = x509.load_pem_x509_certificates(value.replace("\\n", "\n").encode())
        return [(certificate.serial_number, _rsa(certificate.public_key(), setting)) for certificate in found]
    except _UNPARSABLE:
        raise SettingsError(f"{setting}: is no certificate in PEM") from None


def whole_certificates(options: Mapping[str, Option], name: str) -> list[x509.Certificate]:
    """All certificates in the values of `name`, in PEM, in their order."""
    found: list[x509.Certificate] = []
    for index, value in enumerate(texts(options, name)):
        found.extend(parsed_certificates(value, f"{name}[{index}]"))
    return found


def parsed_certificates(value: str, setting: str) -> list[x509.Certificate]:
    """The certificates in one PEM, in its order; there is at least one."""
    try:
        return x509.load_pem_x509_certificates(value.replace("\\n", "\n").encode())
    except ValueError:
        raise SettingsError(f"{setting}: is no certificate in PEM") from None


def rsa_signing_key(options: Mapping[str, Option], name: str) -> RSAPrivateKey | None:
    """A private key in PEM, or the base64 inside of one."""
    value = text(options, name)
    if value is None:
        return None
    try:
        key = serialization.load_pem_private_key(_as_pem(value, "PRIVATE KEY").encode(), password=None)
    except _UNPARSABLE:
        raise SettingsError(f"{name}: is no private key (PEM without a password, or its base64)") from None
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError(f"{name}: is no RSA key")
    return key


def _rsa(key: object, setting: str) -> RSAPublicKey:
    if not isinstance(key, RSAPublicKey):
        raise SettingsError(f"{setting}: is no RSA key")
    return key


def _as_pem(value: str, kind: str) -> str:
    # Environment variables often carry a PEM on one line, with \n spelled out.
    value = value.strip().replace("\\n", "\n")
    return value if "-----BEGIN" in value else f"-----BEGIN {kind}-----\n{value}\n-----END {kind}-----\n"


def _decoded(value: str, setting: str) -> bytes:
    padded = value + "=" * (-len(value) % 4)
    try:
        raw = binascii.a2b_base64(padded.encode(), strict_mode=True)
    except ValueError:
        raise SettingsError(f"{setting}: is no base64") from None
    if not raw:
        raise SettingsError(f"{setting}: is empty")
    return raw


def _check_visible(value: str, setting: str) -> None:
    if not value.strip():
        raise SettingsError(f"{setting}: is empty")
    if value != value.strip():
        raise SettingsError(f"{setting}: has white space around it")
    if not value.isprintable():
        raise SettingsError(f"{setting}: has a character in it that nobody sees")
