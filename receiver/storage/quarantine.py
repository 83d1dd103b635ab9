"""Genuine callbacks that must not run: kept whole, once each, with the reason."""

import datetime as dt
from collections.abc import Mapping
from typing import Final

import msgspec

from receiver.storage.engine import Connection

_KEEP: Final = """
INSERT INTO receiver.quarantine AS q (id, source, provider, reason, external_id, digest, headers, body)
VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8)
ON CONFLICT (source, digest) DO UPDATE SET deliveries = q.deliveries + 1
RETURNING deliveries
"""

_SINCE: Final = """
SELECT source, count(*) FROM receiver.quarantine WHERE reason = $1 AND received_at > now() - $2::interval
GROUP BY source ORDER BY source
"""


class Odd(msgspec.Struct, frozen=True, kw_only=True):
    """One genuine callback on its way into quarantine."""

    event_id: object
    source: str
    provider: str
    reason: str
    external_id: str | None
    digest: bytes
    """SHA-256 over reason and body: a resend of the same bytes is counted, not kept again."""
    headers: Mapping[str, str]
    body: bytes


async def keep(connection: Connection, odd: Odd, seconds: float) -> int:
    """Store and commit `odd`; the number of times that it has been delivered so far."""
    deliveries = await connection.fetchval(
        _KEEP,
        odd.event_id,
        odd.source,
        odd.provider,
        odd.reason,
        odd.external_id,
        odd.digest,
        msgspec.json.encode(odd.headers).decode(),
        odd.body,
        timeout=seconds,
    )
    return int(deliveries)


async def kept_since(connection: Connection, reason: str, age: dt.timedelta) -> dict[str, int]:
    """By source, how many callbacks were kept for `reason` in the time of that length that ends now."""
    return {row[0]: row[1] for row in await connection.fetch(_SINCE, reason, age)}
