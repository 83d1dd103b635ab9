"""Runs dispatches again: one event's at once, many as a job that the workers step."""

from contextlib import suppress
from typing import Final

import msgspec

from receiver.operate.errors import AgainNeeded, NothingToReplay
from receiver.operate.events import find
from receiver.storage import audit, replays, views
from receiver.storage.audit import Said
from receiver.storage.engine import Connection
from receiver.storage.views import DispatchRow, EventRow

AGAIN: Final = (
    "what succeeded would run again: what its handler writes to the database would be there twice, unless the handler"
    " sees that it is there; calls to the outside would carry the same idempotency keys as before. Say --again if that"
    " is meant"
)


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What was made due."""

    replayed: int
    """Dispatches."""
    handlers: tuple[str, ...]
    """Whose; sorted."""
    succeeded: tuple[str, ...] = ()
    """Those that had succeeded, and are left alone; sorted."""


class _Undone(Exception):
    """Takes a transaction back."""


async def replay_event(
    connection: Connection,
    wanted: str,
    said: Said,
    *,
    handler: str | None = None,
    again: bool = False,
    dry_run: bool = False,
) -> Replayed:
    """Make the dispatches of one event due now, and record it in the audit log in the same commit.

    Left alone: what is being run or about to be, what waits for its lane and, without `again`, what succeeded.

    Args:
        connection: see `database`.
        wanted: the event's own id, or the provider's where that is unique.
        said: by whom, and why.
        handler: only this one's.
        again: also what succeeded.
        dry_run: undo it, and only say what it would have been.

    Raises:
        EventUnknown: there is no such event, or more than one.
        AgainNeeded: all that could be run again has succeeded.
        NothingToReplay: nothing could be run again.
    """
    row = await find(connection, wanted)
    with suppress(_Undone):
        async with connection.transaction():
            handlers = await replays.replay_event(connection, row.id, handler, again=again)
            if handlers:
                await audit.write(connection, "replay_event", row.id, said, {"handlers": handlers, "again": again})
            if dry_run:
                raise _Undone
    owed = [one for one in await views.dispatches(connection, row.id) if handler in {None, one.handler}]
    succeeded = tuple(one.handler for one in owed if one.state == "succeeded" and one.handler not in handlers)
    if not handlers:
        raise _nothing(row, owed, succeeded)
    return Replayed(replayed=len(handlers), handlers=tuple(handlers), succeeded=succeeded)


def _nothing(row: EventRow, owed: list[DispatchRow], succeeded: tuple[str, ...]) -> AgainNeeded | NothingToReplay:
    if succeeded:
        return AgainNeeded(f"{', '.join(succeeded)}: {AGAIN}")
    states = (
        ", ".join(f"{one.handler} is {one.state}" for one in owed)
        or "nothing of it is owed to anybody who was asked for"
    )
    return NothingToReplay(f"the event {row.id} has nothing that could be run again: {states}")
