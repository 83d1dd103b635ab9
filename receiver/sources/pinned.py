"""Roots out of certifi's bundle, by their fingerprints: which ones count is decided here, not by whoever makes it."""

import hashlib
import re
from base64 import b64decode
from collections.abc import Mapping
from functools import cache
from typing import Final

import certifi
from cryptography import x509

_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE-----")


def public_roots(fingerprints: frozenset[str]) -> list[x509.Certificate]:
    """Those that the bundle has.

    Args:
        fingerprints: SHA-256 of the whole certificate, in lower-case hexadecimal.
    """
    # Only these are parsed: not every root in the bundle is as the library wants certificates to be.
    return [x509.load_der_x509_certificate(der) for digest, der in _bundle().items() if digest in fingerprints]


@cache
def _bundle() -> Mapping[str, bytes]:
    ders = [b64decode(block) for block in _BLOCK.findall(certifi.contents())]
    return {hashlib.sha256(der).hexdigest(): der for der in ders}
