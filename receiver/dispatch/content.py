"""From a row to the event that a handler is given."""

from collections.abc import Callable, Mapping
from typing import NoReturn, TypeAlias

import msgspec

from receiver.errors import SettingsError
from receiver.events import Event
from receiver.storage.leases import Lease
from receiver.storage.steps import Candidate, Content

Readers: TypeAlias = Mapping[str, Callable[[bytes], object]]
"""By source: how its provider's bodies become `event.data`."""

_HEADERS = msgspec.json.Decoder(dict[str, str])


def to_event(lease: Lease, readers: Readers, confirmed: object = None) -> Event:
    """The event as its handler sees it.

    A source that is not configured here is no reason not to run: only `event.data` is then an error.

    Raises:
        LookupError: it was deleted.
    """
    stored = lease.event
    if stored is None:
        raise LookupError("the event is not there any more")
    return Event(
        id=lease.event_id,
        source=stored.source,
        provider=stored.provider,
        external_id=stored.external_id,
        type=stored.type,
        entity_id=stored.entity_id,
        livemode=stored.livemode,
        occurred_at=stored.occurred_at,
        received_at=stored.received_at,
        headers=_HEADERS.decode(stored.headers),
        body=stored.body,
        trust=stored.trust,
        handler=lease.handler,
        attempt=lease.attempt,
        late=lease.late,
        confirmed=confirmed,
        reader=readers.get(stored.source) or _unknown(stored.source),
    )


def to_candidate_event(candidate: Candidate, content: Content, handler: str, readers: Readers) -> Event:
    """The event as a lane's function sees it, before any run."""
    return Event(
        id=candidate.id,
        source=candidate.source,
        provider=candidate.provider,
        external_id=candidate.external_id,
        type=candidate.type,
        entity_id=candidate.entity_id,
        livemode=candidate.livemode,
        occurred_at=candidate.occurred_at,
        received_at=candidate.received_at,
        headers=_HEADERS.decode(content.headers),
        body=content.body,
        trust=candidate.trust,
        handler=handler,
        attempt=0,
        reader=readers.get(candidate.source) or _unknown(candidate.source),
    )


def _unknown(source: str) -> Callable[[bytes], object]:
    def refuse(_body: bytes) -> NoReturn:
        raise SettingsError(f"sources.{source}: is not configured in this worker, so `event.data` cannot be read")

    return refuse
