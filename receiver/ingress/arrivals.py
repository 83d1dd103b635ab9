"""Facts to rows: an arrival for each readable fact, an odd one for each that goes to quarantine."""

import hashlib
from collections.abc import Sequence

import msgspec
import uuid_utils

from receiver.events import Callback, Fact, Trust
from receiver.handlers import Handler, in_lanes
from receiver.inbox.key import dedup_key
from receiver.sources import Source
from receiver.storage.arrivals import Arrival
from receiver.storage.quarantine import Odd


def kept_headers(callback: Callback, keep: frozenset[bytes]) -> dict[str, str]:
    """The allow-listed headers. NUL, which jsonb cannot hold, is dropped."""
    return {
        name.decode("latin-1"): value.decode("latin-1").replace("\0", "")
        for name, value in callback.headers
        if name in keep
    }


def to_arrival(
    source: Source, fact: Fact, callback: Callback, handlers: Sequence[Handler], secret: int = -1
) -> Arrival:
    """The row for a fact that has an id; `secret` is the index of the key that verified it."""
    if not fact.external_id:
        raise ValueError("a fact without an id is odd")
    event_id = uuid_utils.uuid7()
    external_id = f"{fact.external_id}@{event_id}" if fact.fresh else fact.external_id
    arrival = Arrival(
        key=dedup_key(source.name, fact.identity or external_id, fact.key_time),
        event_id=event_id,
        fingerprint=fact.fingerprint,
        source=source.name,
        provider=source.provider.name,
        external_id=external_id,
        type=fact.type,
        entity_id=fact.entity_id,
        livemode=fact.livemode,
        occurred_at=fact.occurred_at,
        headers=kept_headers(callback, source.provider.kept_headers()),
        body=callback.body if fact.body is None else fact.body,
        trust=fact.trust if source.verified else _of_unsigned(fact),
        secret=source.key_label(secret),
        owed=tuple((handler.name, None) for handler in handlers),
    )
    if fact.token is not None and fact.token.subject is not None:  # not above: Python makes a dict of over 15 names
        arrival = msgspec.structs.replace(arrival, token=fact.token)
    return in_lanes(arrival, handlers, source.content)


def _of_unsigned(fact: Fact) -> Trust:
    """A token vouches for the sender, and for nothing that was sent."""
    return "none" if fact.token is None else "sender"


def to_odd(source: Source, fact: Fact, callback: Callback) -> Odd:
    """The quarantine row for a fact that is genuine but cannot be handled."""
    reason = fact.odd or "odd"
    body = callback.body if fact.body is None else fact.body
    return Odd(
        event_id=uuid_utils.uuid7(),
        source=source.name,
        provider=source.provider.name,
        reason=reason,
        external_id=fact.external_id,
        digest=hashlib.sha256(reason.encode() + b"\0" + body).digest(),
        headers=kept_headers(callback, source.provider.kept_headers()),
        body=body,
    )
