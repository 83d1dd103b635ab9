"""The items of Adyen's standard notifications: what of each is signed, and what it states."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from receiver.errors import VerificationError
from receiver.events import Fact, Trust
from receiver.sources import batches, documents, times

BATCH: Final = "notificationItems"
_ITEM: Final = "NotificationRequestItem"
_OUTCOMES: Final = ("true", "false")
_LIVE: Final[Mapping[object, bool]] = {"true": True, "false": False}


class Item(NamedTuple):
    """One notification of a batch."""

    members: Mapping[str, object] | None
    """None: it is none."""
    written: bytes
    """As it stands in the body."""


def items(body: bytes, document: Mapping[str, object]) -> Iterator[Item]:
    """The items of the batch in `body`, which was parsed as `document`. Raises UnreadableError: it is no batch.

    One by one, for a forged batch ends at its first item: with hundreds of thousands of them it would cost 0.3 s.
    """
    return (_item(entry, written) for entry, written in batches.items(body, document, BATCH))


def _item(entry: object, written: bytes) -> Item:
    members = documents.member(entry, _ITEM)
    return Item(members, batches.written_member(written, _ITEM)) if isinstance(members, dict) else Item(None, written)


def signature(item: Item) -> bytes:
    """The signature of an item, as it is spelled.

    Raises:
        VerificationError: `item_malformed`, `signature_missing`, `signature_malformed`.
    """
    if item.members is None:
        raise VerificationError("item_malformed")
    found = documents.member(item.members, "additionalData", "hmacSignature")
    if not isinstance(found, str) or not found:
        raise VerificationError("signature_missing")
    if not found.isascii():
        raise VerificationError("signature_malformed")
    return found.encode()


def signed(item: Item) -> bytes:
    """The text that is signed: eight members with colons between them.

    Adyen escapes nothing. So that a text can be read in one way only, no member but the merchant's reference may hold
    a colon: else who has one genuine item with a colon in that reference could move the borders between the members,
    and would have an event with another id under the same signature.

    Raises:
        VerificationError: `item_malformed`.
    """
    members = item.members or {}
    amount = members.get("amount") or {}
    before = (_plain(members, "pspReference"), _plain(members, "originalReference"))
    account, reference = _plain(members, "merchantAccountCode"), _text(members, "merchantReference")
    value, currency = _number(amount, "value"), _plain(amount, "currency")
    code, success = _plain(members, "eventCode"), _plain(members, "success")
    if success not in _OUTCOMES:
        raise VerificationError("item_malformed")
    return ":".join((*before, account, reference, value, currency, code, success)).encode()


def _text(members: object, name: str) -> str:
    value = documents.member(members, name)
    if value is not None and not isinstance(value, str):
        raise VerificationError("item_malformed")
    return value or ""


def _plain(members: object, name: str) -> str:
    value = _text(members, name)
    if ":" in value:
        raise VerificationError("item_malformed")
    return value


def _number(members: object, name: str) -> str:
    value = documents.member(members, name)
    if type(value) is int:
        return str(value)  # a zero is signed as any other
    return _plain(members, name)  # reports have a "0"


def fact(item: Item, live: object, trust: Trust) -> Fact:
    """What an item states. Never raises.

    Args:
        item: of a batch.
        live: what the batch says of itself.
        trust: what vouches for it.
    """
    members = item.members
    if members is None:
        return documents.odd("item_malformed", item.written)
    if documents.holds_nul(members):
        return documents.odd("json_nul", item.written)
    external_id, id_odd = _identified(members)
    type_, type_odd = documents.event_type(members.get("eventCode"))
    return Fact(
        external_id=external_id,
        type=type_,
        entity_id=documents.entity(members.get("originalReference"), members.get("pspReference")),
        occurred_at=times.from_iso(members.get("eventDate")),
        key_time=0,  # the date is not signed
        fingerprint=None,
        livemode=_LIVE.get(live) if isinstance(live, str) else None,
        body=item.written,
        trust=trust,
        odd=id_odd or type_odd,
    )


def _identified(members: Mapping[str, object]) -> tuple[str | None, str | None]:
    named = [members.get(name) for name in ("pspReference", "eventCode", "success")]
    texts = [value for value in named if isinstance(value, str) and value]
    return documents.identifier(":".join(texts), given=len(texts) == len(named))
