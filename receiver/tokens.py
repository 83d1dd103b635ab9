"""The text of a token: who made it and until when it is good can be read without asking anybody.

A token is 38 bytes in URL-safe base64, 51 characters without padding: a version, the second in which it expires, 16
random bytes, and 17 bytes of an HMAC-SHA256 over these, the scope and what tokens of this kind are for. Scope and kind
are not in it: a token of another scope or kind has another signature, like one that was made by nobody.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from receiver.errors import TokenError
from receiver.events import length_prefixed

_VERSION: Final = b"\x01"
_EXPIRY_BYTES: Final = 4
_NONCE_BYTES: Final = 16
_SIGNATURE_BYTES: Final = 17
_BYTES: Final = 1 + _EXPIRY_BYTES + _NONCE_BYTES + _SIGNATURE_BYTES
_HEAD: Final = 1 + _EXPIRY_BYTES + _NONCE_BYTES
LENGTH: Final = 51
"""Characters of a token."""
ISSUED: Final = b"receiver token"
"""The kind that clients ask for, each for one request."""
CALLBACK: Final = b"receiver callback token"
"""The kind that comes back with a provider's callbacks. Whoever may ask for the other kind cannot get one of these."""
_ALPHABET: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token that was issued for a scope."""

    scope: str
    """What it may be used for."""
    nonce: bytes
    """What tells it from every other: 16 random bytes."""
    expires_at: int
    """Unix seconds."""


class TokenSigner:
    """Makes tokens and reads them.

    Args:
        keys: at least one; the first signs, each one verifies.
        kind: what its tokens are for, whatever their scope.
    """

    def __init__(self, keys: Sequence[bytes], kind: bytes = ISSUED) -> None:
        if not keys:
            raise ValueError("keys: at least one")
        self._keys = tuple(keys)
        self._kind = kind

    def __eq__(self, other: object) -> bool:
        """Whether both make and read the same tokens."""
        return isinstance(other, TokenSigner) and (self._keys, self._kind) == (other._keys, other._kind)

    def __hash__(self) -> int:
        """By keys and kind, as they are compared."""
        return hash((self._keys, self._kind))

    def issue(self, scope: str, expires_at: int) -> tuple[str, Token]:
        """A new token as text, and what it says.

        Args:
            scope: what it may be used for.
            expires_at: Unix seconds.
        """
        token = Token(scope=scope, nonce=secrets.token_bytes(_NONCE_BYTES), expires_at=expires_at)
        head = _VERSION + expires_at.to_bytes(_EXPIRY_BYTES, "big") + token.nonce
        return urlsafe_b64encode(head + self._signature(self._keys[0], scope, head)).rstrip(b"=").decode(), token

    def read(self, text: str, scope: str, now: float) -> Token:
        """What `text` says, if it was issued here for `scope` and is still good.

        Args:
            text: as it came.
            scope: for which it was sent.
            now: Unix seconds.

        Raises:
            TokenError: `token_foreign`: never issued here, or for another scope; `token_expired`.
        """
        raw = _decoded(text)
        head, signature = raw[:_HEAD], raw[_HEAD:]
        genuine = False
        for key in self._keys:
            genuine |= hmac.compare_digest(signature, self._signature(key, scope, head))
        if not genuine or head[:1] != _VERSION:
            raise TokenError("token_foreign")
        expires_at = int.from_bytes(head[1 : 1 + _EXPIRY_BYTES], "big")
        if now >= expires_at:
            raise TokenError("token_expired")
        return Token(scope=scope, nonce=head[1 + _EXPIRY_BYTES :], expires_at=expires_at)

    def _signature(self, key: bytes, scope: str, head: bytes) -> bytes:
        signed = length_prefixed(self._kind) + length_prefixed(scope.encode()) + head
        return hmac.digest(key, signed, "sha256")[:_SIGNATURE_BYTES]


def _decoded(text: str) -> bytes:
    """The bytes of a token; what is no token's text is nobody's."""
    if len(text) != LENGTH or not _ALPHABET.issuperset(text):
        raise TokenError("token_foreign")
    raw = urlsafe_b64decode(text + "=")
    # 51 characters hold two bits more than 38 bytes: one spelling of them is accepted.
    if len(raw) != _BYTES or urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise TokenError("token_foreign")
    return raw
