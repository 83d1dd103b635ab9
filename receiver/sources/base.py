"""What a provider is: data about its scheme, and a few pure functions over bytes.

A provider is one file in `providers`. It verifies (`authenticate`), reads facts out of verified bytes (`read`),
gives handlers their data (`content`) and signs as the provider would (`sign`, for `receiver send` and tests).
None of them does input or output, and none reads a clock: `now` is passed in.
"""

import datetime as dt
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from receiver.errors import SettingsError
from receiver.events import Callback, Fact, Trust, Verified, parse_exactly
from receiver.sources.options import Option, labels
from receiver.sources.template import HEADERS, Sample, filled, headers_in, unique_id


@dataclass(frozen=True, kw_only=True)
class Ack:
    """What a provider wants to hear."""

    status: int
    body: bytes = b""
    content_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of a source, apart from `provider` and `verification`, which every source has."""

    help: str
    """One line for the reference and for error messages."""
    secret: bool = False
    """Never shown."""
    many: bool = False
    """One value or a list: any one of them may verify (rotation)."""
    key: bool = False
    """Its values verify callbacks: `authenticate` counts them."""
    mapping: bool = False
    """A table of name to value, such as serial to key."""
    choices: tuple[str, ...] = ()
    """The only values that it takes; empty: any."""
    number: bool = False
    """A number, zero or more, instead of a string."""
    example: str = ""
    """For the provider's page, where it is neither a secret nor a file."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What the provider's page says beside the data of its class: whole sentences, in Markdown, and where from."""

    signed: str
    """What the signature covers, and how."""
    unsigned: str | None = None
    """What it does not cover, and what follows; None: nothing that matters."""
    resends: str
    """What stays the same and what changes when the provider repeats a callback, with the evidence."""
    key: str
    """What makes two callbacks one event, and why: resends share it, different facts do not."""
    retries: str
    """When it repeats, and until when."""
    sources: tuple[str, ...]
    """Addresses of the documents, and names of the SDKs, that all this was read in."""


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A callback as the provider would send it."""

    headers: tuple[tuple[str, str], ...]
    body: bytes
    query: str = ""
    """Without the question mark; for the few that sign it."""

    def at(self, address: str) -> str:
        """The address that it is sent to, with the query behind it."""
        return f"{address}?{self.query}" if self.query else address


class Provider(ABC):
    """A kind of sender. The class holds what is true of the provider, an instance one account's keys.

    Constructing one parses the account's keys; nothing is parsed on the way of a callback. Without keys it can still
    read, for sources that say `verification = "none"`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[Mapping[str, Setting]]
    """Each key that may verify is a setting with `key=True`; their values count as one list, in this order."""
    needs: ClassVar[tuple[tuple[str, ...], ...]]
    """What verification needs: of each group of settings at least one."""
    keep_headers: ClassVar[frozenset[bytes]]
    """Lower-case names of the headers stored with the event, enough to check its signature again; nothing else is."""
    retry_horizon: ClassVar[dt.timedelta]
    """For how long the provider repeats a callback: keys are kept at least as long."""
    called_per_payment: ClassVar[bool | None] = False
    """Whoever makes a payment says where its callbacks go; else the account has one address for all of them. None: of
    the callbacks that are not signed this is so."""
    answer_deadline: ClassVar[dt.timedelta]
    """How long the provider waits for the answer."""
    success: ClassVar[Ack]
    trust: ClassVar[Trust] = "signed"
    """What vouches for its events, the least of them if they differ."""
    at_best: ClassVar[Trust | None] = None
    """The most of them, if they differ."""
    signature_header: ClassVar[bytes | None] = None
    """Lower-case name of the header that holds the signature; None: it stands in the body, or there is none."""
    signature_repeats: ClassVar[bool] = False
    """That header may come several times, each time with another signature, of which any may match."""
    signature_member: ClassVar[tuple[str | int, ...]] = ()
    """Where it stands in the body, if in no header: the way to a member, or a form's parameter."""
    timestamp_header: ClassVar[bytes | None] = None
    """Lower-case name of the header with the signed time of the sending."""
    timestamp_item: ClassVar[bytes | None] = None
    """What stands before that time if it is an item of the signature's header, such as `t=`."""
    time_window: ClassVar[dt.timedelta | None] = None
    """How far that time may be from now; None: however far, or no such time is sent."""
    differs: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """What differs, beside the signature and its time, from one delivery of an event to the next: ways to members of a
    payload, and so to headers, `("@headers", name)`."""
    about: ClassVar[About]
    samples: ClassVar[Mapping[str, Sample]]
    """Realistic callbacks of our own making, by a word that all providers share: paid, failed, refunded, …"""
    id_form: ClassVar[str]
    """How the provider's event ids look, for `sample_id`."""

    @abstractmethod
    def __init__(self, options: Mapping[str, Option]) -> None:
        """Parse the keys. Raises SettingsError, whose message begins with the option's name."""

    @classmethod
    def key_labels(cls, options: Mapping[str, Option]) -> tuple[str, ...]:
        """What operators call the keys, in the order in which `authenticate` counts them: `secrets[0]`, for example.

        Args:
            options: of the source.
        """
        return tuple(label for name, setting in cls.settings.items() if setting.key for label in labels(options, name))

    @abstractmethod
    def authenticate(self, callback: Callback, now: float) -> int:
        """Check the provider's signature over the raw bytes.

        Args:
            callback: as it arrived.
            now: Unix seconds.

        Returns:
            The index of the key that matched.

        Raises:
            VerificationError: in every other case, malformed input included.
        """

    @abstractmethod
    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """The facts in an authentic callback. Never raises: what cannot be read is an odd fact."""

    def content(self, body: bytes) -> object:
        """What handlers get as `event.data`. Raises ValueError if the body cannot be read."""
        return parse_exactly(body)

    def sign(self, payload: Mapping[str, object], now: float) -> Signed:
        """The callback that the provider would send for `payload`, signed with the newest key.

        Args:
            payload: what `sample` returns, perhaps changed. Its member `@headers` is sent as headers, not in the body.
            now: Unix seconds.

        Raises:
            SettingsError: the source has no key to sign with. The message begins with the option's name.
        """
        written = {name: part for name, part in payload.items() if name != HEADERS}
        return self.seal(self.render(written, now), now, headers_in(payload))

    @abstractmethod
    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """Any bytes at all, signed as the provider would: for tests of what is genuine and odd.

        Args:
            body: to be sent.
            now: Unix seconds.
            beside: headers that go along, such as an id or a type that the provider sends in no other place.

        Raises:
            SettingsError: as `sign`.
        """

    def render(self, payload: Mapping[str, object], now: float) -> bytes:
        """The body that the provider would write for `payload`: compact JSON, unless it says otherwise."""
        del now
        return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    @abstractmethod
    def made_up(cls) -> dict[str, object]:
        """Settings with keys of our own making, with which a source can verify and sign at once: for demo and tests."""

    def challenge(self, query: bytes) -> Ack | None:
        """The answer to a GET by which some providers ask whether this is the right address; None: it is not one.

        Args:
            query: raw, without the question mark.
        """
        del query
        return None

    def acknowledgement(self) -> Ack:
        """What this account is answered when its callback is stored: `success`, where there is no choice."""
        return self.success

    def kept_headers(self) -> frozenset[bytes]:
        """Lower-case names of the headers that are stored of this account's callbacks."""
        return self.keep_headers

    def failure(self, reason: str) -> Mapping[str, str]:
        """Members that the provider wants in the body of a failure answer, beside the problem's own."""
        del reason
        return {}

    def verify(self, callback: Callback, now: float) -> Verified:
        """Authenticate, then read. Raises VerificationError."""
        matched = self.authenticate(callback, now)
        return Verified(facts=self.read(callback), secret=matched)

    @classmethod
    def sample(cls, what: str, *, external_id: str, entity_id: str, created: int) -> dict[str, object]:
        """A payload for `sign`.

        Args:
            what: a word of `samples`, or an event type of the provider.
            external_id: the event's id, such as `sample_id` gives.
            entity_id: the payment or order it is about.
            created: Unix seconds of the event's creation.

        Raises:
            SettingsError: there is no such sample.
        """
        found = cls.samples.get(what) or next((s for s in cls.samples.values() if s.type == what), None)
        if found is None:
            known = ", ".join(f"{word} ({sample.type})" for word, sample in cls.samples.items())
            raise SettingsError(f"{cls.name} has no sample {what!r}; it has {known}")
        return filled(found, external_id=external_id, entity_id=entity_id, created=created)

    @classmethod
    def sample_id(cls, unique: str, created: int) -> str:
        """An event id as the provider makes them.

        Args:
            unique: digits and lower-case letters that tell it from other ids of the same second.
            created: Unix seconds of the event's creation.
        """
        return unique_id(cls.id_form, unique, created)
