"""What is unique about an event: the key of the dedup table and of the Redis mark."""

import hashlib
from typing import Final

_HOUR: Final = 3600
_LATEST_HOUR: Final = 2**32 - 1


def dedup_key(source: str, external_id: str, key_time: int) -> bytes:
    """The 20 bytes that stand for one event of one source.

    First the hour of the event's own creation (4 bytes, big endian; 0 where the provider signs none that is the same
    on every resend), so that the index grows at its end; then 16 bytes of a SHA-256 over the length-prefixed parts.

    Args:
        source: name of the account.
        external_id: the provider's id, never empty.
        key_time: Unix seconds, or 0.
    """
    name, identity = source.encode(), external_id.encode()
    digest = hashlib.sha256(b"%d:%b%d:%b" % (len(name), name, len(identity), identity)).digest()
    hour = min(max(key_time // _HOUR, 0), _LATEST_HOUR)
    return hour.to_bytes(4, "big") + digest[:16]
