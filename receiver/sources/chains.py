"""Chains of certificates to roots that the settings name, for authorities that the rules of the web do not fit.

What the rules of the web do fit is checked by `cryptography`'s own verifier. CFCA's chains sign with SHA-1 and name
companies, not hosts, which it refuses. Here only the leaf comes from outside: what issues it is all configured.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm

from receiver.errors import SettingsError, VerificationError

_HASHES: Final[tuple[type[HashAlgorithm], ...]] = (SHA1, SHA256, SHA384, SHA512)
UNREADABLE: Final = (
    *(ValueError, TypeError, UnsupportedAlgorithm, Warning),
    *(x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),  # none of them a ValueError
)
"""What a certificate from outside may raise when it is parsed or looked at; a warning where warnings are errors."""
_LEAST_BITS: Final = 2048
_UNBOUNDED: Final = 1_000
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
_KNOWN: Final = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
"""Extensions that may be critical: others could say what is not heeded here."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The time in which a key may be used, Unix seconds, both ends included."""

    begins: float
    ends: float

    def check(self, now: float) -> None:
        """Raises VerificationError, `certificate_expired`, before it as well as after it."""
        if not self.begins <= now <= self.ends:
            raise VerificationError("certificate_expired")


@dataclass(frozen=True, kw_only=True)
class _Issuer:
    certificate: x509.Certificate
    root: int
    """Index of the root that it leads to."""
    window: Window
    below: int
    """How many issuers may stand below it."""


class Issuers:
    """Certificates that may issue others, each of which leads to a root.

    Args:
        roots: trusted as they are.
        intermediates: in any order.
        setting: name of the setting with the intermediates, for the error.

    Raises:
        SettingsError: a root may not issue, or an intermediate leads to no root.
    """

    def __init__(
        self, roots: Sequence[x509.Certificate], intermediates: Sequence[x509.Certificate], *, setting: str
    ) -> None:
        self._issuers = [
            _Issuer(certificate=root, root=index, window=window(root), below=_below(root, _UNBOUNDED))
            for index, root in enumerate(roots)
        ]
        if any(issuer.below < 0 for issuer in self._issuers):
            raise SettingsError("roots: holds a certificate that may not issue others")
        left = list(intermediates)
        while left:
            led = [found for certificate in left if (found := self._led(certificate)) is not None]
            if not led:
                raise SettingsError(f"{setting}: holds a certificate that leads to no root, or may not issue others")
            self._issuers.extend(led)
            left = [certificate for certificate in left if all(certificate != found.certificate for found in led)]

    def leads(self, leaf: x509.Certificate) -> tuple[int, Window]:
        """The index of the root that `leaf` leads to, and when the whole chain is valid.

        Raises:
            VerificationError: `certificate_untrusted`: none of the issuers signed it, or it is not made for signing.
        """
        issuer = next((issuer for issuer in self._issuers if _issued(leaf, issuer.certificate)), None)
        if issuer is None or not _may_sign(leaf):
            raise VerificationError("certificate_untrusted")
        return issuer.root, _both(window(leaf), issuer.window)

    def _led(self, certificate: x509.Certificate) -> _Issuer | None:
        """The certificate as an issuer, if one that is known issued it and it may issue itself."""
        for parent in self._issuers:
            below = _below(certificate, parent.below - 1)
            if below >= 0 and _issued(certificate, parent.certificate):
                both = _both(window(certificate), parent.window)
                return _Issuer(certificate=certificate, root=parent.root, window=both, below=below)
        return None


def window(*certificates: x509.Certificate) -> Window:
    """The time in which all of them are valid."""
    return Window(
        begins=max(_unix(certificate.not_valid_before_utc) for certificate in certificates),
        ends=min(_unix(certificate.not_valid_after_utc) for certificate in certificates),
    )


def common_names(certificate: x509.Certificate) -> Iterable[str]:
    """The subject's common names; usually one."""
    return [str(name.value) for name in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]


def _unix(time: dt.datetime) -> float:
    return time.timestamp()


def _both(one: Window, other: Window) -> Window:
    return Window(begins=max(one.begins, other.begins), ends=min(one.ends, other.ends))


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` signed it. By hand, since the library's own check refuses SHA-1."""
    algorithm = certificate.signature_hash_algorithm
    if certificate.issuer != issuer.subject or not isinstance(algorithm, _HASHES):
        return False
    key, signature, signed = issuer.public_key(), certificate.signature, certificate.tbs_certificate_bytes
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(signature, signed, PKCS1v15(), algorithm)
        elif isinstance(key, EllipticCurvePublicKey):
            key.verify(signature, signed, ECDSA(algorithm))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _below(certificate: x509.Certificate, most: int) -> int:
    """How many issuers may stand below `certificate`, `most` at most; less than none: it may not issue at all."""
    usage = _extension(certificate, x509.KeyUsage)
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca or not (usage is None or usage.key_cert_sign) or _strange(certificate):
        return -1
    return most if constraints.path_length is None else min(most, constraints.path_length)


def _may_sign(leaf: x509.Certificate) -> bool:
    usage = _extension(leaf, x509.KeyUsage)
    constraints = _extension(leaf, x509.BasicConstraints)
    key = leaf.public_key()
    return (
        (usage is None or usage.digital_signature)
        and (constraints is None or not constraints.ca)
        and not _strange(leaf)
        and isinstance(key, RSAPublicKey)
        and key.key_size >= _LEAST_BITS
    )


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _strange(certificate: x509.Certificate) -> bool:
    return any(found.critical and not isinstance(found.value, _KNOWN) for found in certificate.extensions)
