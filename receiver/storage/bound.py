"""What each callback token was used for first: it opens that again, and nothing else.

A row is written in the transaction that stores the first event under the token, so there is no event without it and
none is left by a crash. Two first callbacks with one token meet in the primary key: the second waits there for the
first one's commit, and then sees what the token is good for.

A table of its own, and not `once_key`: the question is not only whether, but for what.
"""

import uuid
from collections.abc import Sequence
from typing import Final

from receiver.storage.arrivals import Arrival
from receiver.storage.engine import Connection

# In the order of tokens, and before any dedup key: two that take several in different orders would deadlock. What is
# known already takes no token: it is a resend, and acknowledged whatever it brings.
_BIND: Final = """
INSERT INTO receiver.callback_token (nonce, subject, event_id, source)
SELECT nonce, subject, event_id, source
FROM unnest($1::bytea[], $2::bytea[], $3::uuid[], $4::text[], $5::bytea[]) AS t(nonce, subject, event_id, source, key)
WHERE NOT EXISTS (SELECT FROM receiver.dedup_key AS k WHERE k.key = t.key)
ORDER BY nonce
ON CONFLICT (nonce) DO NOTHING
"""
# A statement of its own: it sees what was committed while the insert waited.
_USES: Final = "SELECT nonce, subject, event_id FROM receiver.callback_token WHERE nonce = ANY($1::bytea[])"


async def bind(connection: Connection, arrivals: Sequence[Arrival], seconds: float) -> dict[bytes, uuid.UUID]:
    """Use the tokens of `arrivals`; by event id, those whose token was used for something else, and by which event.

    Args:
        connection: in the transaction that stores them.
        arrivals: of those without a token nothing is looked at.
        seconds: past it the outcome is unknown.
    """
    held = [(arrival, token.nonce, token.subject) for arrival in arrivals if (token := arrival.token) and token.subject]
    if not held:
        return {}
    await connection.execute(
        _BIND,
        [nonce for _, nonce, _ in held],
        [subject for _, _, subject in held],
        [arrival.event_id for arrival, _, _ in held],
        [arrival.source for arrival, _, _ in held],
        [arrival.key for arrival, _, _ in held],
        timeout=seconds,
    )
    rows = await connection.fetch(_USES, [nonce for _, nonce, _ in held], timeout=seconds)
    uses = {row[0]: row for row in rows}
    return {
        arrival.event_id.bytes: uses[nonce][2]
        for arrival, nonce, subject in held
        if nonce in uses and uses[nonce][1] != subject
    }
