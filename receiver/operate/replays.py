"""Runs dispatches again: one event's, or all the dead ones of a handler."""

from typing import Final

import msgspec

from receiver.operate.errors import NothingToReplay
from receiver.operate.events import find
from receiver.storage import replays
from receiver.storage.engine import Connection

_AT_ONCE: Final = 500


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What was made due."""

    replayed: int
    """Dispatches."""
    handlers: tuple[str, ...]
    """Whose; sorted."""


async def replay_event(connection: Connection, wanted: str, handler: str | None = None) -> Replayed:
    """Make the unfinished dispatches of one event due now, the dead ones among them.

    Args:
        connection: see `database`.
        wanted: the event's own id, or the provider's where that is unique.
        handler: only this one's.

    Raises:
        EventUnknown: there is no such event, or more than one.
        NothingToReplay: all of them succeeded, or are being run at this moment.
    """
    row = await find(connection, wanted)
    handlers = await replays.replay_event(connection, row.id, handler)
    if not handlers:
        raise NothingToReplay(f"the event {row.id} is {row.state}: it has nothing that could be run again")
    return Replayed(replayed=len(handlers), handlers=tuple(sorted(handlers)))


async def replay_handler(connection: Connection, handler: str) -> Replayed:
    """Make every dead dispatch of `handler` due now.

    Raises:
        NothingToReplay: none is dead.
    """
    replayed = 0
    # One that dies again meanwhile would come back for ever, so what is dead now is all that is taken.
    while (found := await replays.replay_dead(connection, handler, _AT_ONCE)) > 0:
        replayed += found
        if found < _AT_ONCE:
            break
    if not replayed:
        raise NothingToReplay(f"nothing of the handler {handler!r} is dead; `receiver dead list` shows what is")
    return Replayed(replayed=replayed, handlers=(handler,))
