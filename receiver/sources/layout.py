"""Where a provider's JSON says what: data about its messages, and one reader for all of them."""

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from receiver.events import Callback, Fact, Trust
from receiver.sources import documents, signatures, times

Path: TypeAlias = tuple[str, ...]
"""Names of members, from the outermost in."""
Reading: TypeAlias = Callable[[object], dt.datetime | None]
"""A member to a time, such as `times.from_iso`."""
_DIGEST: Final = 16
_LIVE: Final[Mapping[bool | str, bool]] = {True: True, False: False, "live": True, "test": False}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where one kind of JSON message holds its facts, and what of it is the same on every resend."""

    id: Path | None = None
    """The event's id; None: it has none in its body."""
    id_header: bytes | None = None
    """Lower-case name of the header with the id. It is not signed, so the key is made of what is."""
    signed_headers: frozenset[bytes] = frozenset()
    """Those headers that the signature covers: an id in one of them is as good as one in the body."""
    parts: tuple[Path, ...] = ()
    """Where there is no id: members that are the same on every resend and that together tell one fact from another.
    None are given, or none of them is there: the whole body does."""
    type: Path | None = None
    """The event's type."""
    type_else: Path | None = None
    """Where it stands if it does not stand there."""
    type_header: bytes | None = None
    """Lower-case name of the header with the type, where the body does not say it."""
    entities: tuple[Path, ...] = ()
    """Where the payment, order or other object is named: the first that is there counts."""
    occurred_at: Path | None = None
    """The event's own time."""
    reading: Reading = times.from_iso
    """How it is written."""
    keyed: bool = False
    """That time is the same on every resend of the event: its hour stands in front of the key."""
    livemode: Path | None = None
    """A boolean, or the word live or test."""
    whole: bool = False
    """Every resend has the same body, byte for byte, so that its hash is the fingerprint. False: not known, and there
    is none; no fingerprint is better than one that calls a resend another fact."""

    def headers(self) -> frozenset[bytes]:
        """Lower-case names of those that are read.

        Verifiers look at them even where they are not signed: no provider sends one twice with two values, or not in
        ASCII.
        """
        return frozenset(name for name in (self.id_header, self.type_header) if name)

    def read(self, callback: Callback, trust: Trust = "signed") -> tuple[Fact, ...]:
        """The one fact of a callback whose body is one message; an odd one if it cannot be read."""
        try:
            document = documents.json_object(callback.body)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)
        return (self.fact(document, callback.body, callback, trust),)

    def fact(self, document: Mapping[str, object], body: bytes, callback: Callback, trust: Trust = "signed") -> Fact:
        """What `document` states. Never raises: what is wrong with it is its `odd`.

        Args:
            document: the parsed message.
            body: what it was parsed from: the callback's body, or a part of it.
            callback: for headers.
            trust: what vouches for it.
        """
        external_id, id_odd, identity = self._identified(document, body, callback)
        type_, type_odd = self._typed(document, callback)
        occurred_at = self.reading(documents.member(document, *self.occurred_at)) if self.occurred_at else None
        livemode = documents.member(document, *self.livemode) if self.livemode else None
        return Fact(
            external_id=external_id,
            type=type_,
            entity_id=documents.entity(*(_text(documents.member(document, *path)) for path in self.entities)),
            occurred_at=occurred_at,
            key_time=times.to_unix(occurred_at) if self.keyed else 0,
            fingerprint=hashlib.sha256(body).digest()[:_DIGEST] if self.whole else None,
            livemode=_LIVE.get(livemode) if isinstance(livemode, bool | str) else None,
            identity=identity,
            body=None if body is callback.body else body,
            trust=trust,
            odd=id_odd or type_odd,
        )

    def _identified(
        self, document: Mapping[str, object], body: bytes, callback: Callback
    ) -> tuple[str | None, str | None, str | None]:
        """Id, what is odd about it, and what makes the key instead of it."""
        if self.id is not None:
            value = _text(documents.member(document, *self.id))
            return *documents.identifier(value, given=value is not None or _there(document, self.id)), None
        name = signatures.first(callback, self.id_header or b"")
        external_id, odd = documents.identifier(name.decode()) if name.isascii() else (None, "id_invalid")
        if self.id_header in self.signed_headers:
            return external_id, odd, None
        # A type that stands in a header alone joins the key: one body may be sent under two types, and both are meant.
        own = documents.derived_id(*self._constant(document, body), signatures.first(callback, self.type_header or b""))
        return (external_id, odd, own) if name else (own, None, None)

    def _constant(self, document: Mapping[str, object], body: bytes) -> list[bytes]:
        found = [documents.member(document, *path) for path in self.parts]
        # A message of another shape has none of them, and must not be taken for the last one of that kind.
        if all(value is None for value in found):
            return [body]
        return [documents.constant(value) for value in found]

    def _typed(self, document: Mapping[str, object], callback: Callback) -> tuple[str | None, str | None]:
        if self.type is not None:
            found = documents.member(document, *self.type)
            if found is None and self.type_else is not None:
                found = documents.member(document, *self.type_else)
            return documents.event_type(found)
        header = signatures.first(callback, self.type_header or b"")
        return documents.event_type(header.decode()) if header.isascii() else (None, "type_invalid")


def _there(document: object, path: Path) -> bool:
    parent = documents.member(document, *path[:-1])
    return isinstance(parent, dict) and path[-1] in parent


def _text(value: object) -> object:
    """Numbers that serve as ids, as text: `12` and `"12"` are one id."""
    return str(value) if type(value) is int else value
