"""Events as an operator looks at them: a list, one with its timeline, what is dead."""

import uuid

import msgspec

from receiver.operate.errors import EventUnknown
from receiver.storage import views
from receiver.storage.engine import Connection
from receiver.storage.views import ConfirmationRow, DispatchRow, EventRow

_CANDIDATES = 5


class EventDetail(EventRow, frozen=True, kw_only=True):
    """An event, what it was stored with, and what its handlers did."""

    headers: dict[str, str]
    size: int
    """Bytes of the body."""
    body: bytes | msgspec.UnsetType = msgspec.UNSET
    """Only if it was asked for; base64 in JSON."""
    confirmation: ConfirmationRow | None
    """What its source's confirmation said of it; None: nobody has asked."""
    dispatches: tuple[DispatchRow, ...]


async def find(connection: Connection, wanted: str) -> EventRow:
    """The event with our own id, or else the provider's.

    Raises:
        EventUnknown: none has it, or several have.
    """
    own = _own_id(wanted)
    if own is not None:
        found = await views.event_by_id(connection, own)
        if found is not None:
            return found
    if not _is_text(wanted):
        raise EventUnknown(f"no event has the id {wanted!r}: it is not text")
    several = await views.events_by_external_id(connection, wanted, _CANDIDATES)
    if len(several) == 1:
        return several[0]
    if not several:
        raise EventUnknown(f"no event has the id {wanted!r}; `receiver events list` shows what is stored")
    named = ", ".join(f"{row.id} ({row.source})" for row in several)
    raise EventUnknown(f"several events have the id {wanted!r}; name one by its own id: {named}")


async def detail(connection: Connection, wanted: str, *, body: bool = False) -> EventDetail:
    """All there is to know about one event.

    Args:
        connection: see `database`.
        wanted: its own id, or the provider's where that is unique.
        body: the raw bytes too.

    Raises:
        EventUnknown: none has it, or several have.
    """
    row = await find(connection, wanted)
    stored = await views.stored_body(connection, row.id)
    if stored is None:
        raise EventUnknown(f"the event {row.id} was dropped a moment ago")
    return EventDetail(
        **msgspec.structs.asdict(row),
        headers=stored.headers,
        size=len(stored.body),
        body=stored.body if body else msgspec.UNSET,
        confirmation=await views.confirmation(connection, row.id),
        dispatches=await views.dispatches(connection, row.id),
    )


def _is_text(wanted: str) -> bool:
    """Whether Postgres could hold it: an argument of bytes that are not UTF-8 is not."""
    return "\0" not in wanted and wanted == wanted.encode("utf-8", "ignore").decode()


def _own_id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
