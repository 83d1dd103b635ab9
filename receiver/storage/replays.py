"""Running dispatches again: what was dead, or still owed, becomes due now."""

import uuid
from collections.abc import Sequence
from typing import Final

from receiver.storage.engine import Connection

# Locked rows are being run at this moment: they need no replay, and waiting for them would take as long as they do.
_REPLAY: Final = """
WITH chosen AS MATERIALIZED (
    SELECT event_id, handler FROM receiver.dispatch
    WHERE {chosen}
    FOR UPDATE SKIP LOCKED
)
UPDATE receiver.dispatch AS d
SET state = 'ready', due_at = now(), attempts = 0, epoch = d.epoch + 1, trigger = 'manual', reason = NULL,
    blocks = false, deferrals = 0, deferred_at = NULL
FROM chosen WHERE d.event_id = chosen.event_id AND d.handler = chosen.handler
RETURNING d.event_id, d.handler
"""
_REPLAY_EVENT: Final = _REPLAY.format(
    chosen="event_id = $1 AND state <> 'succeeded' AND ($2::text IS NULL OR handler = $2)"
)
_REPLAY_DEAD: Final = _REPLAY.format(
    chosen="""(event_id, handler) IN (
        SELECT event_id, handler FROM receiver.dispatch
        WHERE state = 'dead' AND ($1::text IS NULL OR handler = $1)
        ORDER BY due_at LIMIT $2
    ) AND state = 'dead'"""
)


async def replay_event(connection: Connection, event_id: uuid.UUID, handler: str | None) -> Sequence[str]:
    """Make the dispatches of one event due now, with all attempts before them; those that succeeded stay as they are.

    One that is being run at this moment is left alone. Commits.

    Args:
        connection: in autocommit.
        event_id: the event.
        handler: only this handler's; None: all.

    Returns:
        The names of the handlers that will run.
    """
    return [row[1] for row in await connection.fetch(_REPLAY_EVENT, event_id, handler)]


async def replay_dead(connection: Connection, handler: str | None, most: int) -> int:
    """Make up to `most` dead dispatches due now, those first that died first; how many. Commits.

    Args:
        connection: in autocommit.
        handler: only this handler's; None: of all.
        most: call again while as many were found.
    """
    return len(await connection.fetch(_REPLAY_DEAD, handler, most))
