"""What signature schemes share: strict headers, strict numbers, strict base64, comparison in constant time.

Strict means: one spelling of a value is accepted and every other refused, with a reason. Official SDKs accept more
(`float("1e400")`, base64 with junk inside, Arabic digits), and several raise errors that nobody expects.
"""

import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from receiver.errors import VerificationError
from receiver.events import Callback

LONGEST_HEADER: Final = 16_384
"""Bytes of a header that is looked at: room for a hundred signatures, or for an id so long that it goes to quarantine,
while 20,000 signatures are refused before any is compared."""
_LONGEST_TIMESTAMP: Final = 12
_PADDING: Final = PKCS1v15()
_HASH: Final = SHA256()


class Hmac:
    """HMAC under one key (RFC 2104), with the key's own two blocks hashed once and for all.

    A third less than `hmac.digest` for a callback of usual size, which sets up the key anew each time.

    Args:
        key: of any length.
        algorithm: a name that `hashlib` knows.
    """

    def __init__(self, key: bytes, algorithm: str = "sha256") -> None:
        size = hashlib.new(algorithm).block_size
        block = (hashlib.new(algorithm, key).digest() if len(key) > size else key).ljust(size, b"\0")
        self._inner = hashlib.new(algorithm, bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.new(algorithm, bytes(byte ^ 0x5C for byte in block))

    def digest(self, *parts: bytes) -> bytes:
        """The bytes over the parts, one behind the other: 32 for SHA-256."""
        inner, outer = self._inner.copy(), self._outer.copy()
        for part in parts:
            inner.update(part)
        outer.update(inner.digest())
        return outer.digest()


def headers(callback: Callback, wanted: frozenset[bytes]) -> dict[bytes, bytes]:
    """The wanted headers that are there, by lower-case name.

    Raises:
        VerificationError: `header_conflict` if one stands there twice with two values, since nobody can say which
            was meant; `header_malformed` if one is not ASCII or longer than any signature.
    """
    found: dict[bytes, bytes] = {}
    for name, value in callback.headers:
        if name in wanted:
            if found.setdefault(name, value) != value:
                raise VerificationError("header_conflict")
            if len(value) > LONGEST_HEADER or not value.isascii():
                raise VerificationError("header_malformed")
    return found


def first(callback: Callback, name: bytes) -> bytes:
    """The first header of that lower-case name as it came, or nothing: for what is shown, not for what is trusted."""
    return next((value for given, value in callback.headers if given == name), b"")


def timestamp(text: bytes) -> int:
    """Unix seconds, written as ASCII digits and nothing else.

    Raises:
        VerificationError: `timestamp_malformed`.
    """
    # `bytes.isdigit` knows ASCII only: no sign, space, underscore, point, exponent or Arabic digit passes.
    if not text.isdigit() or len(text) > _LONGEST_TIMESTAMP:
        raise VerificationError("timestamp_malformed")
    return int(text)


def within(sent: int, now: float, tolerance: float, *, edge: bool = True) -> None:
    """Check that `sent` is no further than `tolerance` seconds from `now`, either way.

    Args:
        sent: Unix seconds that the sender signed.
        now: Unix seconds.
        tolerance: seconds.
        edge: whether exactly that far is still fine.

    Raises:
        VerificationError: `timestamp_expired` or `timestamp_future`.
    """
    age = now - sent
    if abs(age) > tolerance or (not edge and abs(age) == tolerance):
        raise VerificationError("timestamp_expired" if age > 0 else "timestamp_future")


def any_equal(candidates: Iterable[bytes], expected: bytes) -> bool:
    """Whether one candidate is what was expected, compared in constant time and without stopping early."""
    matched = False
    for candidate in candidates:
        matched |= hmac.compare_digest(candidate, expected)
    return matched


def rsa_match(header: bytes | None, signed: bytes, public_keys: Sequence[RSAPublicKey]) -> int:
    """The index of the key under which `header`, in base64, is the RSA-SHA256 signature (PKCS #1 v1.5) of `signed`.

    Raises:
        VerificationError: `signature_missing`, `signature_malformed`, `signature_mismatch`.
    """
    if not header:
        raise VerificationError("signature_missing")
    signature = strict_base64(header)
    if signature is None:
        raise VerificationError("signature_malformed")
    for index, key in enumerate(public_keys):
        try:
            key.verify(signature, signed, _PADDING, _HASH)
        except InvalidSignature:
            continue
        return index
    raise VerificationError("signature_mismatch")


def strict_base64(text: bytes) -> bytes | None:
    """The bytes that `text` stands for, or None unless it is exactly how they are written in base64 (RFC 4648 § 4)."""
    try:
        raw = binascii.a2b_base64(text)
    except ValueError:
        return None
    # The decoder skips what it does not know, and stray bits behind the last byte even in its strict mode.
    return raw if binascii.b2a_base64(raw, newline=False) == text else None
