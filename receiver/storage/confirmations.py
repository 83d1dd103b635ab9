"""What a source's confirmation said of each event: whoever is to ask first takes the row, everybody else reads it.

There is no transaction while somebody asks: the row says until when it is being asked for, by the database's clock.
Whoever dies meanwhile is followed by the next who looks after that time; what the dead one had heard counts no more,
for its token is not the row's.
"""

import uuid
from typing import Final, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.storage.engine import make_engine
from receiver.storage.own import KeptConnection

_ANSWER_SECONDS: Final = 10.0

Outcome = Literal["asking", "waiting", "confirmed", "refused"]
"""`waiting`: there was no answer yet, and is to be asked again."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one event."""

    ours: bool
    """It is for us to ask, now; otherwise what follows is what others have done."""
    outcome: Outcome
    asked: int
    """How often it has been asked for, this time included, since it was last replayed."""
    asked_seconds: float
    """How long ago for the first time."""
    wait_seconds: float | None
    """While `asking` or `waiting`: until it may be asked for again."""
    reason: str | None
    once: str | None
    data: str | None
    """JSON."""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking."""

    outcome: Outcome
    wait_seconds: float | None = None
    """While `waiting`."""
    reason: str | None = None
    once: str | None = None
    data: str | None = None


# A replay of what was refused, or is waited for, asks at once, and begins to count anew.
_LOOK: Final = """
WITH owed AS MATERIALIZED (
    SELECT EXISTS (SELECT FROM receiver.dispatch WHERE event_id = $1 AND handler = $2 AND trigger = 'manual') AS again
), ours AS (
    INSERT INTO receiver.confirmation AS c (event_id, outcome, token, asked, until)
    VALUES ($1, 'asking', $3, 1, now() + make_interval(secs => $4))
    ON CONFLICT (event_id) DO UPDATE SET
        outcome = 'asking', token = excluded.token, until = excluded.until, at = now(), reason = NULL,
        asked = CASE WHEN c.outcome <> 'asking' AND (SELECT again FROM owed) THEN 1 ELSE c.asked + 1 END,
        since = CASE WHEN c.outcome <> 'asking' AND (SELECT again FROM owed) THEN now() ELSE c.since END
    WHERE (c.outcome IN ('asking', 'waiting') AND c.until <= now())
        OR (c.outcome = 'asking' AND c.token = excluded.token)
        OR (c.outcome IN ('waiting', 'refused') AND (SELECT again FROM owed))
    RETURNING true AS ours, outcome, asked, since, until, reason, once, data
), known AS (
    SELECT * FROM ours
    UNION ALL
    SELECT false, outcome, asked, since, until, reason, once, data FROM receiver.confirmation
    WHERE event_id = $1 AND NOT EXISTS (SELECT FROM ours)
)
SELECT ours, outcome, asked, extract(epoch FROM now() - since)::float8 AS asked_seconds,
       extract(epoch FROM until - now())::float8 AS wait_seconds, reason, once, data::text AS data
FROM known
"""

_SETTLE: Final = """
UPDATE receiver.confirmation
SET outcome = $3, until = now() + make_interval(secs => $4), at = now(), reason = $5, once = $6, data = $7::json
WHERE event_id = $1 AND token = $2 AND outcome = 'asking'
"""


def confirming_engine(url: str) -> AsyncEngine:
    """The engine of a `ConfirmationConnection`."""
    return make_engine(url, name="receiver-confirmations", size=1, settings={"statement_timeout": "5s"})


class ConfirmationConnection:
    """The statements, each a transaction of its own; the connection is opened when first needed.

    Args:
        engine: see `confirming_engine`.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._kept = KeptConnection(engine)

    async def look(self, event_id: uuid.UUID, handler: str, token: uuid.UUID, seconds: float) -> Standing:
        """What is known of the event; if nobody else is to ask for it now, it is ours to ask for.

        Args:
            event_id: the event's.
            handler: of whose run it is the first step.
            token: proves later that it was still ours.
            seconds: how long others wait for what we hear.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer. To be said again with the same token.
        """
        rows = None
        async with self._kept.use() as own:
            while not rows:  # taken while this waited for it, and not to be seen before the next statement
                rows = await own.raw.fetch(_LOOK, event_id, handler, token, seconds, timeout=_ANSWER_SECONDS)
        return msgspec.convert(dict(rows[0]), Standing)

    async def settle(self, event_id: uuid.UUID, token: uuid.UUID, settled: Settled) -> bool:
        """Write what came of asking; False if somebody else has asked meanwhile, or it was written already.

        Raises:
            StoreUnavailable: as `look`.
        """
        values = (settled.outcome, settled.wait_seconds, settled.reason, settled.once, settled.data)
        async with self._kept.use() as own:
            said = await own.raw.execute(_SETTLE, event_id, token, *values, timeout=_ANSWER_SECONDS)
        return said == "UPDATE 1"

    async def close(self) -> None:
        """Close the connection."""
        await self._kept.close()
