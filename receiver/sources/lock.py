"""A second lock on a source: callbacks must bring a token that the merchant gave out when the payment was made.

Where a provider signs nothing the token is the only proof of who calls; where it signs, whoever has got hold of the
signing secret still lacks the token. Its signature shows here, without asking anybody, what was never given out. What
it may open after its first use is judged where the event is stored, in the same transaction: see `storage/bound.py`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from receiver.errors import SettingsError, TokenError, VerificationError
from receiver.events import Callback, Fact, Held, Verified, length_prefixed
from receiver.settings import Settings, SourceSettings, token_keys
from receiver.sources.base import Provider
from receiver.tokens import CALLBACK, TokenSigner

Place: TypeAlias = Literal["url", "field"]
Use: TypeAlias = Literal["entity", "event", "any"]
"""What a token opens once it was used: all events of the entity that it was used for, that event, or any."""
_SUBJECT: Final = 16
_SHORT: Final = 3600


class Opened(Protocol):
    """The source that the lock is on."""

    @property
    def name(self) -> str:
        """As in its path."""

    @property
    def verified(self) -> bool:
        """Whether the provider's signature was checked."""

    def content(self, body: bytes) -> object:
        """What handlers get as `event.data`. Raises ValueError."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """Where the token is found, who made it and what it opens."""

    place: Place
    field: tuple[str, ...] = ()
    """For a field: the names on the way to it."""
    use: Use
    signer: TokenSigner

    def opened(self, source: Opened, callback: Callback, proved: Verified, now: float) -> Verified:
        """The same facts, each with the token that it came with.

        Args:
            source: what the lock is on; tokens of others do not open it.
            callback: as it arrived.
            proved: the facts in it, genuine as far as the provider signs.
            now: Unix seconds.

        Raises:
            VerificationError: `token_missing`, `token_foreign` or `token_expired`.
        """
        if self.place == "url":
            nonce = self._nonce(callback.token, source, now)
            facts = tuple(self._held(fact, nonce) for fact in proved.facts)
        else:
            facts = tuple(self._held(fact, nonce) for fact, nonce in self._in_fields(source, callback, proved, now))
        return Verified(facts=facts, secret=proved.secret)

    def address_end(self, source: str, now: float) -> str:
        """`/TOKEN`, good for an hour, if it is wanted in the address of that source; else nothing."""
        return f"/{self.signer.issue(source, int(now) + _SHORT)[0]}" if self.place == "url" else ""

    def _in_fields(
        self, source: Opened, callback: Callback, proved: Verified, now: float
    ) -> Iterator[tuple[Fact, bytes | None]]:
        for fact in proved.facts:
            if fact.odd is not None and source.verified:
                yield fact, None  # genuine, and its field cannot be read: quarantine is where somebody looks at it
                continue
            body = callback.body if fact.body is None else fact.body
            yield fact, self._nonce(self._found(source, body), source, now)

    def _found(self, source: Opened, body: bytes) -> str | None:
        try:
            value = member(source.content(body), self.field)
        except ValueError:
            return None
        return value if isinstance(value, str) else None

    def _nonce(self, text: str | None, source: Opened, now: float) -> bytes:
        if not text:
            raise VerificationError("token_missing")
        try:
            return self.signer.read(text, source.name, now).nonce
        except TokenError as error:
            raise VerificationError(error.reason) from None

    def _held(self, fact: Fact, nonce: bytes | None) -> Fact:
        if nonce is None:
            return fact
        return msgspec.structs.replace(fact, token=Held(nonce=nonce, subject=self._subject(fact)))

    def _subject(self, fact: Fact) -> bytes | None:
        """What the token is bound to by this fact. One without an entity, or of no known payment, stands for itself."""
        if self.use == "any":
            return None
        if self.use == "entity" and fact.entity_id is not None:
            return _digest("entity", fact.entity_id)
        return _digest("event", fact.identity or fact.external_id or "")


def lock_of(prefix: str, settings: SourceSettings, provider: type[Provider], signer: TokenSigner | None) -> Lock | None:
    """The lock that a source's settings ask for; None: none.

    Args:
        prefix: the section's full name, for errors.
        settings: of the source.
        provider: says what is good where nothing else is said.
        signer: None where there are no keys.

    Raises:
        SettingsError: it cannot work.
    """
    place = settings.token
    if place is None:
        for name in ("token_field", "token_for"):
            if getattr(settings, name) is not None:
                raise SettingsError(f"{prefix}.{name}: says nothing without token")
        return None
    if signer is None:
        raise SettingsError(f"{prefix}.token: needs token_keys, which sign the tokens")
    if place == "field" and settings.token_field is None:
        raise SettingsError(f"{prefix}.token_field: is missing; it says where in event.data the token stands")
    if place == "url" and settings.token_field is not None:
        raise SettingsError(f'{prefix}.token_field: is for token = "field"')
    of_payments = provider.called_per_payment
    if of_payments is None:
        of_payments = settings.verification == "none"
    usual: Use = "entity" if place == "field" or of_payments else "any"
    return Lock(
        place=place,
        field=tuple(settings.token_field.split(".")) if settings.token_field else (),
        use=settings.token_for or usual,
        signer=signer,
    )


def callback_signer(settings: Settings, folder: Path) -> TokenSigner | None:
    """Makes and reads callback tokens; None where no keys for tokens are set.

    Args:
        settings: as loaded.
        folder: what the paths of `file:` references are relative to.

    Raises:
        SettingsError: a key is missing or too short.
    """
    keys = token_keys(settings, folder)
    return TokenSigner(keys, CALLBACK) if keys else None


def member(document: object, names: Sequence[str]) -> object:
    """What stands in `document` at the end of `names`; None: nothing does.

    Args:
        document: dicts and lists.
        names: of members, or numbers of items. A member may have dots in its own name, as Adyen's have: the longest
            name that is there counts.
    """
    left = list(names)
    while left:
        if isinstance(document, Mapping):
            length = next((n for n in range(len(left), 0, -1) if ".".join(left[:n]) in document), 0)
            if not length:
                return None
            document = document[".".join(left[:length])]
            del left[:length]
        elif isinstance(document, list) and left[0].isdecimal() and int(left[0]) < len(document):
            document = document[int(left.pop(0))]
        else:
            return None
    return document


def _digest(kind: str, name: str) -> bytes:
    return hashlib.sha256(length_prefixed(kind.encode()) + name.encode()).digest()[:_SUBJECT]
