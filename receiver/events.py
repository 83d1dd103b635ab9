"""The frozen types a callback passes through: a callback arrives, facts are read from it, an event is handled."""

import datetime as dt
import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, TypeAlias

import jiter
import msgspec

INTERNAL: Final = "internal"
"""The source, and the provider, of the events that are emitted. Nobody can call it."""


Trust: TypeAlias = Literal["signed", "partial", "sender", "none", "internal"]
"""What vouches for an event's content. `signed`: a signature over all of it; `partial`: one over a part of it, so the
rest may have been changed; `sender`: a secret that came along proves who sent, and nothing more; `none`: nothing;
`internal`: no provider sent it, code of the merchant's own emitted it, and vouches for it."""


def lane_time(occurred_at: dt.datetime | None, trust: Trust) -> dt.datetime | None:
    """The time by which a lane knows its place; None: that of its arrival.

    A time that nothing vouches for could be set far ahead by anybody, and all that comes later would be late for ever.
    """
    return None if trust == "none" else occurred_at


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A token of the merchant's own that came with a callback: see `sources/lock.py`."""

    nonce: bytes
    """What tells it from every other token."""
    subject: bytes | None
    """What it is good for from now on, 16 bytes; None: anything."""


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP arrival, not yet trusted. Made for every request, hence a Struct: a tenth of a dataclass's cost."""

    method: str
    """`POST`, or `GET` for the few providers that sign a query string."""
    headers: list[tuple[bytes, bytes]]
    """Names in lower case, in the order of arrival, duplicates kept."""
    body: bytes
    """The raw bytes exactly as sent."""
    query: bytes = b""
    """The raw query string, without the question mark."""
    token: str | None = None
    """What stands in the path behind the source's name; not yet trusted."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider states in one callback, read from bytes that were verified."""

    external_id: str | None
    """The provider's own id for the event. None: the fact is odd."""
    type: str | None
    """The provider's event type, such as `payment_intent.succeeded`; None where it sent none."""
    entity_id: str | None
    """The payment, order or other object that the event is about."""
    occurred_at: dt.datetime | None
    """The event's own time, aware; None where the provider states none. As far to be trusted as the rest: `trust`."""
    key_time: int
    """Unix seconds of the event's creation if it is signed and the same on every resend, else 0."""
    fingerprint: bytes | None
    """16 bytes over what is the same on every resend; None where no such thing is known."""
    livemode: bool | None = None
    """False for the provider's test mode; None where it does not say."""
    identity: str | None = None
    """What makes the key in place of `external_id`, where that is not signed: who forges it gets no second event."""
    fresh: bool = False
    """Each delivery is an event of its own, since a resend cannot be told from news: `external_id` gets the event's own
    id behind it, `id@event`."""
    body: bytes | None = None
    """The fact's own bytes in a callback that holds several; None: the whole body."""
    trust: Trust = "signed"
    """What vouches for it."""
    token: Held | None = None
    """The token that it came with, where its source wants one."""
    odd: str | None = None
    """Why the fact cannot be handled although it is genuine: it goes to quarantine under this reason."""
    retry: bool = False
    """With `odd`: ask the provider to call again (our settings are at fault, a later attempt may be readable)."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that its provider really sent."""

    facts: tuple[Fact, ...]
    """One or more; all are stored in one commit or none is."""
    secret: int
    """Index of the secret or key that matched, for the operator who rotates them; -1 where nothing is verified."""


def length_prefixed(part: bytes) -> bytes:
    """`part` behind its length (4 bytes, big endian), so that joined parts can never be read two ways."""
    return len(part).to_bytes(4, "big") + part


def parse_exactly(text: bytes) -> object:
    """JSON as Python objects without losing a digit.

    Raises:
        ValueError: not strict JSON (duplicate keys, NaN, lone surrogates, too deep, a number over 4,300 digits).
    """
    return jiter.from_json(text, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="decimal")


@dataclass(frozen=True, kw_only=True)
class Event:
    """A verified fact, stored once: what a handler is given."""

    id: uuid.UUID
    """The receiver's own id, ordered by arrival."""
    source: str
    """The configured account it came to, as in `/callbacks/{source}`."""
    provider: str
    """The kind of sender, such as `stripe`."""
    external_id: str
    """The provider's own id for the event."""
    type: str | None
    """The provider's event type."""
    entity_id: str | None
    """The payment, order or other object that the event is about."""
    livemode: bool | None
    """False for the provider's test mode; None where it does not say."""
    trust: Trust = "signed"
    """What vouches for it; confirm `partial`, `sender` and `none` by the provider's API before money moves."""
    occurred_at: dt.datetime | None
    """The event's own time, aware; None where the provider signs none."""
    received_at: dt.datetime
    """When the first delivery was stored, by the database's clock."""
    headers: Mapping[str, str]
    """The allow-listed headers of the first delivery."""
    body: bytes
    """The raw bytes exactly as sent."""
    handler: str
    """The name of the handler that this event is handed to."""
    attempt: int
    """The number of this run, from 1."""
    late: bool = False
    """A later event of the same lane has been handled before it."""
    confirmed: object = None
    """What the source's confirmation said of it; None where it has none."""
    reader: Callable[[bytes], object] = field(default=parse_exactly, repr=False, compare=False)
    """How this provider's body becomes `data`."""

    @cached_property
    def data(self) -> object:
        """The content as Python objects, exact: integers of any size, `Decimal` for every fraction.

        JSON becomes dicts and lists, a form becomes a dict of strings. Where the provider encrypts the resource
        (WeChat Pay), this is the decrypted resource.
        """
        return self.reader(self.body)

    def idempotency_key(self, step: str) -> str:
        """A key for an outside call, the same over attempts, workers and replays of this event in this handler.

        Args:
            step: names the call within the handler, such as `charge`.
        """
        parts = (self.source, self.external_id, self.handler, step)
        digest = hashlib.sha256(b"".join(length_prefixed(part.encode()) for part in parts))
        return digest.hexdigest()[:32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Emitted:
    """What became of an event that was emitted. It is stored when the transaction commits, and not before."""

    id: uuid.UUID
    """The event's own id: of the new one, or of the one that stands under this key."""
    new: bool
    """False for a duplicate: the same was emitted before, and nothing was written."""
