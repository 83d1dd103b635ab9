"""What a provider may change when it sends a callback again, and what of one thing is another fact: a row for each.

A provider without a row fails, and so does a row that leaves out what the class says (`differs`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import pytest

from receiver.events import Fact
from receiver.sources import PROVIDERS
from receiver.sources.template import HEADERS, headers_in
from tests.sources.conftest import NOW
from tests.sources.test_every_provider import SAMPLES, arrived, payload, provider

LATER: Final = NOW + 90_000
ENTITY: Final = "order1"
Way: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Resend:
    """One provider's."""

    key: Literal["id", "content"]
    """What tells two events apart: the event's id alone, or (also) what it says, so that one id does not make two
    facts one."""
    fingerprint: bool = False
    """Something is known to stay, beside the key."""
    changes: Mapping[Way, object] = field(default_factory=dict)
    """What may be another on a resend, beside the signature and all that is new with each sending: its time, a nonce, a
    ciphertext. Headers are below `@headers`."""
    respelled: bool = False
    """Nobody promises the same bytes: JSON may be written anew, with other blanks and in another order."""
    items: str | None = None
    """The list of those that may come again in other company."""


_ITEM: Final = ("notificationItems", 0, "NotificationRequestItem")
_NEW: Final = "another"
RESENDS: Final[Mapping[str, Resend]] = {
    "adyen": Resend(
        key="content",
        changes={
            ("live",): "true",
            (*_ITEM, "reason"): _NEW,
            (*_ITEM, "eventDate"): "2031-01-01T00:00:00+01:00",
            (*_ITEM, "paymentMethod"): _NEW,
            (*_ITEM, "additionalData", "cardSummary"): "2222",
        },
        respelled=True,
        items="notificationItems",
    ),
    "alipay": Resend(
        key="id",
        fingerprint=True,
        changes={
            ("notify_time",): "2031-01-01 00:00:00",
            ("timestamp",): "2031-01-01 00:00:00",
            ("utc_timestamp",): "1924992000000",
            ("body",): "",
        },
    ),
    "braintree": Resend(key="content"),
    "checkout_com": Resend(key="id", changes={("created_on",): "2031-01-01T00:00:00Z"}, respelled=True),
    "coinbase_commerce": Resend(
        key="id",
        changes={("id",): _NEW, ("attempt_number",): 2, ("scheduled_for",): "2031-01-01T00:00:00Z"},
        respelled=True,
    ),
    "flutterwave": Resend(
        key="content",
        changes={("webhook_id",): _NEW, ("timestamp",): 1924992000000, ("data", "created_datetime"): _NEW},
        respelled=True,
    ),
    "github": Resend(key="content", fingerprint=True, changes={(HEADERS, "X-GitHub-Delivery"): _NEW}),
    "gocardless": Resend(key="id", changes={("meta", "webhook_id"): _NEW}, respelled=True, items="events"),
    "hmac": Resend(key="id", changes={("created_at",): NOW + 1, ("data", "status"): _NEW}, respelled=True),
    "klarna": Resend(key="id", changes={("payload", "state"): _NEW}, respelled=True),
    "lemonsqueezy": Resend(key="content", changes={("meta", "custom_data"): {}}, respelled=True),
    "mercadopago": Resend(key="content", respelled=True),
    "midtrans": Resend(key="content", changes={("status_message",): _NEW}, respelled=True),
    "mollie": Resend(key="id", changes={("createdAt",): _NEW}, respelled=True),
    "paddle": Resend(key="id", changes={("notification_id",): _NEW}, respelled=True),
    "paypal": Resend(
        key="id",
        changes={("create_time",): "2031-01-01T00:00:00Z", ("summary",): _NEW, ("links",): [{"href": _NEW}]},
        respelled=True,
    ),
    "paystack": Resend(key="content", changes={("data", "channel"): _NEW}, respelled=True),
    "razorpay": Resend(key="content", fingerprint=True, changes={(HEADERS, "X-Razorpay-Event-Id"): _NEW}),
    "shopify": Resend(
        key="content",
        fingerprint=True,
        changes={(HEADERS, "X-Shopify-Webhook-Id"): _NEW, (HEADERS, "X-Shopify-Event-Id"): _NEW},
    ),
    "square": Resend(key="id", changes={("data", "object"): {}}, respelled=True),
    "standardwebhooks": Resend(key="id", fingerprint=True),
    "stripe": Resend(
        key="id",
        fingerprint=True,
        changes={
            ("pending_webhooks",): 7,
            ("request",): {"id": _NEW, "idempotency_key": None},
            ("api_version",): "2031-01-01",
        },
    ),
    "toss": Resend(
        key="content",
        changes={
            (HEADERS, "tosspayments-webhook-transmission-id"): _NEW,
            (HEADERS, "tosspayments-webhook-transmission-retried-count"): "3",
        },
        respelled=True,
    ),
    "unionpay": Resend(key="content", changes={("traceNo",): "000001", ("respMsg",): _NEW}),
    "wechatpay": Resend(
        key="id",
        fingerprint=True,
        changes={("create_time",): "2031-01-01T00:00:00+08:00", ("summary",): _NEW},
        respelled=True,
    ),
    "wise": Resend(
        key="content",
        changes={("sent_at",): "2031-01-01T00:00:00Z", (HEADERS, "X-Delivery-Id"): _NEW, ("schema_version",): _NEW},
        respelled=True,
    ),
    "xendit": Resend(key="content", changes={(HEADERS, "webhook-id"): _NEW}, respelled=True),
}


def test_each_provider_has_a_row_that_says_what_its_page_says() -> None:
    assert list(RESENDS) == list(PROVIDERS)
    for name, kind in PROVIDERS.items():
        assert set(kind.differs) <= set(RESENDS[name].changes), name


@pytest.mark.parametrize("name", RESENDS)
def test_what_may_change_is_in_some_sample_and_is_sent(name: str) -> None:
    """Or it would be changed nowhere below."""
    made = [payload(name, what) for what in PROVIDERS[name].samples]
    for way, value in RESENDS[name].changes.items():
        changed = next(other for one in made if (other := _changed(one, {way: value})) != one)
        if way[0] == HEADERS:
            assert (way[1], value) in provider(name).sign(changed, NOW).headers


@pytest.mark.parametrize(("name", "what"), SAMPLES)
def test_a_resend_in_which_all_changes_that_may_is_the_same_event(name: str, what: str) -> None:
    once = _fact(name, payload(name, what), NOW)
    again = _fact(name, _changed(payload(name, what), RESENDS[name].changes), LATER)
    assert _key(once) == _key(again)
    assert once.fingerprint == again.fingerprint
    assert (once.type, once.entity_id) == (again.type, again.entity_id)
    assert (once.fingerprint is not None) == RESENDS[name].fingerprint
    assert once.odd is again.odd is None


@pytest.mark.parametrize(("name", "what"), [(n, w) for n, w in SAMPLES if RESENDS[n].respelled])
def test_a_resend_that_is_written_anew_is_the_same_event(name: str, what: str) -> None:
    made = payload(name, what)
    body = provider(name).render({member: part for member, part in made.items() if member != HEADERS}, NOW)
    anew = json.dumps(_reversed(json.loads(body)), indent=3).encode()
    (fact,) = provider(name).verify(arrived(provider(name).seal(anew, LATER, headers_in(made))), LATER).facts
    once = _fact(name, made, NOW)
    assert (_key(once), once.fingerprint) == (_key(fact), fact.fingerprint)


@pytest.mark.parametrize(("name", "items"), [(name, row.items) for name, row in RESENDS.items() if row.items])
def test_an_item_in_other_company_is_the_same_event(name: str, items: str) -> None:
    words = list(PROVIDERS[name].samples)
    made = [payload(name, what, f"12345678901234{number}") for number, what in enumerate(words)]
    alone = [_fact(name, one, NOW) for one in made]
    together = {**made[0], items: [item for one in reversed(made) for item in _list(one, items)]}
    facts = provider(name).verify(arrived(provider(name).sign(together, LATER)), LATER).facts
    assert [(_key(fact), fact.fingerprint) for fact in reversed(facts)] == [(_key(f), f.fingerprint) for f in alone]


@pytest.mark.parametrize("name", RESENDS)
def test_facts_about_one_thing_are_told_apart(name: str) -> None:
    """All say the same time, the same thing and nothing but it: no other name, no id that only they have."""
    keys: dict[object, list[str]] = {}
    prints = set()
    for what in PROVIDERS[name].samples:
        fact = _fact(name, _about_one(payload(name, what)), NOW)
        keys.setdefault(_key(fact), []).append(what)
        prints.add(fact.fingerprint)
    if RESENDS[name].key == "content":
        assert len(keys) == len(PROVIDERS[name].samples), "one would be taken for the other"
        return
    # Such a provider gives every event an id of its own: see `test_different_facts_about_one_thing_...`.
    assert len(keys) == 1
    assert len(prints) == (len(PROVIDERS[name].samples) if RESENDS[name].fingerprint else 1)


def _fact(name: str, made: Mapping[str, object], now: int) -> Fact:
    (fact,) = provider(name).verify(arrived(provider(name).sign(made, now)), now).facts
    return fact


def _key(fact: Fact) -> tuple[str | None, int]:
    return fact.identity or fact.external_id, fact.key_time


def _changed(made: Mapping[str, object], changes: Mapping[Way, object]) -> dict[str, object]:
    """A copy in which each way that is there leads to something else."""
    copy: dict[str, object] = json.loads(json.dumps(made))
    for way, value in changes.items():
        parent: object = copy
        for name in way[:-1]:
            parent = _inner(parent, name)
        # A member that is sent now and then may be new; what it would stand in must be there.
        if isinstance(parent, dict):
            parent[str(way[-1])] = value
    return copy


def _inner(parent: object, name: str | int) -> object:
    if isinstance(parent, dict):
        return parent.get(name)
    return parent[int(name)] if isinstance(parent, list) else None


def _list(made: Mapping[str, object], name: str) -> list[object]:
    found = made[name]
    assert isinstance(found, list)
    return found


def _reversed(part: object) -> object:
    if isinstance(part, dict):
        return {name: _reversed(member) for name, member in reversed(part.items())}
    return [_reversed(item) for item in part] if isinstance(part, list) else part


def _about_one(part: Mapping[str, object]) -> dict[str, object]:
    """Every text that names the thing in some way is its name and nothing more."""
    text = json.dumps(part)
    whole: dict[str, object] = json.loads(text, object_hook=lambda found: {n: _named(v) for n, v in found.items()})
    return whole


def _named(value: object) -> object:
    return ENTITY if isinstance(value, str) and ENTITY in value else value
