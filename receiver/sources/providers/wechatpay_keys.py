"""WeChat Pay's three kinds of keys: what verifies, by serial number; what decrypts; and, in tests, what signs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from receiver.errors import SettingsError
from receiver.sources import keys
from receiver.sources.options import Option, table, texts


@dataclass(frozen=True)
class Verifier:
    """A platform key."""

    index: int
    """Its place among the source's keys, in the order of the settings."""
    key: RSAPublicKey


@dataclass(frozen=True)
class Signer:
    """The key that plays WeChat Pay."""

    serial: str
    """Under which the receiver knows its public half."""
    key: RSAPrivateKey


def serial(text: str) -> str:
    """A serial number or key id in the one spelling that is compared.

    Serial numbers are hexadecimal in either case, and tools differ in leading zeros; the ids of public keys arrive in
    lower case from environment variables.
    """
    return text.strip().upper().lstrip("0")


def verifiers(options: Mapping[str, Option]) -> dict[str, Verifier]:
    """The keys of `certificates`, then of `public_keys`, by serial.

    Raises:
        SettingsError: a key cannot be parsed, or two have one serial.
    """
    found: dict[str, Verifier] = {}
    for name, key, setting in _named(options):
        known = found.setdefault(name, Verifier(len(found), key))
        if known.key != key:
            raise SettingsError(f"{setting}: is another key under a serial that stands here already")
    return found


def labels(options: Mapping[str, Option]) -> tuple[str, ...]:
    """The setting of each key of `verifiers`, in the order of their indices: a file may hold several certificates."""
    found: dict[str, str] = {}
    for name, _, setting in _named(options):
        found.setdefault(name, setting)
    return tuple(found.values())


def _named(options: Mapping[str, Option]) -> Iterator[tuple[str, RSAPublicKey, str]]:
    for index, value in enumerate(texts(options, "certificates")):
        setting = f"certificates[{index}]"
        for number, key in keys.certificates(value, setting):
            yield serial(f"{number:X}"), key, setting
    for name, value in table(options, "public_keys").items():
        setting = f"public_keys.{name}"
        yield serial(name), keys.rsa_public_key(value, setting), setting


def ciphers(options: Mapping[str, Option]) -> list[AESGCM]:
    """One cipher for each APIv3 key.

    Raises:
        SettingsError: a key has no length that AES knows. WeChat issues 32 bytes; its own SDK's tests use 16.
    """
    found = []
    for index, value in enumerate(keys.secrets(options, "api_v3_key")):
        try:
            found.append(AESGCM(value.encode()))
        except ValueError:
            length = len(value.encode())
            raise SettingsError(f"api_v3_key[{index}]: is {length} bytes long, an APIv3 key has 32") from None
    return found


def signer(options: Mapping[str, Option], known: Mapping[str, Verifier]) -> Signer | None:
    """The test key, under the serial of its public half.

    Raises:
        SettingsError: it cannot be parsed, or belongs to no key in `known`.
    """
    key = keys.rsa_signing_key(options, "signing_key")
    if key is None:
        return None
    name = next((name for name, verifier in known.items() if verifier.key == key.public_key()), None)
    if name is None:
        raise SettingsError("signing_key: belongs to none of the certificates and public keys")
    return Signer(name, key)
