"""What WeChat Pay encrypts: AES-256-GCM under the APIv3 key, in callbacks and around certificates alike."""

from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from receiver.sources import documents, signatures

ALGORITHM: Final = "AEAD_AES_256_GCM"
_NONCE_BYTES: Final = range(8, 129)
"""What the cipher can take; WeChat's are 12."""
_TAG_BYTES: Final = 16
"""What proves the text; it stands at the ciphertext's end."""


def opened(resource: object, ciphers: Iterable[AESGCM]) -> bytes:
    """The text of a resource, as WeChat wrote it.

    Args:
        resource: as it was parsed.
        ciphers: one for each APIv3 key.

    Raises:
        UnreadableError: `resource_malformed`, `resource_undecryptable`.
    """
    ciphertext, nonce, associated = _sealed(resource)
    for cipher in ciphers:
        try:
            return cipher.decrypt(nonce, ciphertext, associated)
        except InvalidTag:
            continue
    raise documents.UnreadableError("resource_undecryptable")


def _sealed(resource: object) -> tuple[bytes, bytes, bytes]:
    """Ciphertext, nonce and associated data of a resource; the last may be missing."""
    algorithm, ciphertext, nonce = (documents.member(resource, name) for name in ("algorithm", "ciphertext", "nonce"))
    associated = documents.member(resource, "associated_data") or ""
    if algorithm != ALGORITHM or not (
        isinstance(ciphertext, str) and isinstance(nonce, str) and isinstance(associated, str)
    ):
        raise documents.UnreadableError("resource_malformed")
    sealed = signatures.strict_base64(ciphertext.encode())
    if sealed is None or len(sealed) < _TAG_BYTES or len(nonce.encode()) not in _NONCE_BYTES:
        raise documents.UnreadableError("resource_malformed")
    return sealed, nonce.encode(), associated.encode()
