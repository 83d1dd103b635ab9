"""A token with each callback: how a source asks for it, where it is found, and what it opens."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Verified
from receiver.settings import made
from receiver.sources import PROVIDERS, Source, build_sources, made_up
from receiver.sources.lock import Lock, member
from receiver.tokens import CALLBACK, TokenSigner

KEY: Final = "a key for the tokens of these tests, made up"
SIGNER: Final = TokenSigner([KEY.encode()], CALLBACK)
STRIPE: Final = {"provider": "stripe", "secrets": ["whsec_1"]}
URL: Final = {"token": "url"}
FIELD: Final = {"token": "field", "token_field": "data.object.metadata.token"}
NOW: Final = time.time()


def built(given: Mapping[str, object], keys: tuple[str, ...] = (KEY,)) -> Source:
    return build_sources(made(token_keys=list(keys), sources={"a": dict(given)}), Path())["a"]


def lock(given: Mapping[str, object]) -> Lock:
    found = built(given).lock
    assert found is not None
    return found


WRONG: Final[Mapping[str, tuple[Mapping[str, object], tuple[str, ...], str]]] = {
    "no keys": (URL, (), "sources.a.token: needs token_keys, which sign the tokens"),
    "no field": ({"token": "field"}, (KEY,), "sources.a.token_field: is missing; it says where in event.data"),
    "a field in the address": ({**URL, "token_field": "x"}, (KEY,), 'sources.a.token_field: is for token = "field"'),
    "a field alone": ({"token_field": "x"}, (KEY,), "sources.a.token_field: says nothing without token"),
    "what it is for alone": ({"token_for": "any"}, (KEY,), "sources.a.token_for: says nothing without token"),
    "a short key": (URL, ("short",), "token_keys[0]: has 5 bytes; at least 32"),
    "another place": ({"token": "header"}, (KEY,), "sources.a.token: Input should be 'url' or 'field'"),
    "another use": ({**URL, "token_for": "all"}, (KEY,), "sources.a.token_for: Input should be 'entity', 'event' or"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes(case: str) -> None:
    given, keys, message = WRONG[case]
    with pytest.raises(SettingsError) as caught:
        built({**STRIPE, **given}, keys)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(message)


PER_PAYMENT: Final = {"alipay", "wechatpay", "unionpay", "mercadopago"}


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_what_it_opens_if_nothing_is_said(name: str) -> None:
    """One address for all payments must not be shut behind the first of them."""
    given = made_up(name)
    assert lock({**given, **URL}).use == ("entity" if name in PER_PAYMENT else "any")
    assert lock({**given, **URL, "token_for": "event"}).use == "event"
    assert lock({**given, "token": "field", "token_field": "x"}).use == "entity"


def test_what_it_opens_where_only_what_is_unsigned_has_an_address_of_its_own() -> None:
    assert lock({"provider": "mollie", "verification": "none", **URL}).use == "entity"


MEMBERS: Final[Mapping[str, object]] = {
    "a": "1",
    "b.c": "2",
    "b.d.e": "3",
    "b.d.f.0.g": "4",
    "x.y": "5",
    "x.y.z": None,  # the longest name that is there is a text, which holds nothing
    "b.c.d": None,
    "b.d.f.1": None,
    "b.d.f.-1": None,
    "b.d.f.x": None,
    "b.d.f.²": None,
    "": None,
    "nowhere": None,
    ".": None,
}


@pytest.mark.parametrize("path", MEMBERS)
def test_members(path: str) -> None:
    document = {"a": "1", "b": {"c": "2", "d": {"e": "3", "f": [{"g": "4"}]}}, "x.y": "5", "x": {"y": {"z": "6"}}}
    assert member(document, path.split(".")) == MEMBERS[path]


def fact(**changes: object) -> Fact:
    whole = Fact(external_id="evt_1", type="t", entity_id="pi_1", occurred_at=None, key_time=0, fingerprint=None)
    return replace(whole, **changes)


DIFFER: Final[Mapping[str, tuple[str, Fact, Fact, bool]]] = {
    "two events of an entity": ("entity", fact(), fact(external_id="evt_2"), False),
    "two entities": ("entity", fact(), fact(entity_id="pi_2"), True),
    "an entity, and an event without": ("entity", fact(), fact(entity_id=None), True),
    "one without an entity, twice": ("entity", fact(entity_id=None), fact(entity_id=None), False),
    "an entity called as an event": ("entity", fact(entity_id="evt_1"), fact(entity_id=None), True),
    "two events": ("event", fact(), fact(external_id="evt_2"), True),
    "an event about two entities": ("event", fact(), fact(entity_id="pi_2"), False),
    "an id that is not signed": ("event", fact(identity="i"), fact(identity="i", external_id="x"), False),
    "any": ("any", fact(), fact(external_id="evt_2", entity_id="pi_2"), False),
}


@pytest.mark.parametrize("case", DIFFER)
def test_subjects(case: str) -> None:
    use, one, two, differ = DIFFER[case]
    found = lock({**STRIPE, **URL, "token_for": use})
    assert (found._subject(one) != found._subject(two)) is differ
    assert (found._subject(one) is None) is (use == "any")


def refused(source: Source, callback: Callback) -> str:
    with pytest.raises(VerificationError) as caught:
        source.verify(callback, NOW)
    return caught.value.reason


@pytest.mark.parametrize("value", ["null", "1", '""', "[]", "{}", '"x"'])
def test_a_field_that_holds_no_token(value: str) -> None:
    source = built({**STRIPE, "verification": "none", **FIELD})
    body = f'{{"id": "evt_1", "data": {{"object": {{"metadata": {{"token": {value}}}}}}}}}'
    expected = "token_foreign" if value == '"x"' else "token_missing"
    assert refused(source, Callback(method="POST", headers=[], body=body.encode())) == expected


def test_what_cannot_be_read() -> None:
    """Signed, it is kept for somebody to look at. Unsigned, anybody could have sent it."""
    signed, unsigned = (built({**STRIPE, **more, **FIELD}) for more in ({}, {"verification": "none"}))
    sealed = signed.provider.seal(b"no JSON", NOW)
    headers = [(name.lower().encode(), value.encode()) for name, value in sealed.headers]
    callback = Callback(method="POST", headers=headers, body=sealed.body)
    (found,) = signed.verify(callback, NOW).facts
    assert (found.odd, found.token) == ("json_invalid", None)
    assert refused(unsigned, callback) == "token_missing"


def test_each_item_of_a_batch_has_its_own() -> None:
    """A field is read from the item, not from the whole."""
    source = built({**made_up("adyen"), "token": "field", "token_field": "additionalData.metadata.token"})
    tokens = [SIGNER.issue("a", int(NOW) + 60)[0] for _ in range(2)]
    bodies = [b'{"additionalData": {"metadata.token": "%s"}}' % text.encode() for text in tokens]
    assert source.lock is not None
    proved = Verified(facts=tuple(fact(body=body) for body in bodies), secret=0)
    verified = source.lock.opened(source, Callback(method="POST", headers=[], body=b"{}"), proved, NOW)
    assert [held.token is not None and held.token.nonce for held in verified.facts] == [
        SIGNER.read(text, "a", NOW).nonce for text in tokens
    ]


def test_the_same_after_a_reload() -> None:
    one = built({**STRIPE, **URL})
    assert one.same_as(built({**STRIPE, **URL}))
    for other in ({}, FIELD, {**URL, "token_for": "event"}):
        assert not one.same_as(built({**STRIPE, **other}))
    assert not one.same_as(built({**STRIPE, **URL}, ("another key, as long as it has to be", KEY)))


def test_a_key_says_nothing_of_itself() -> None:
    assert KEY not in repr(built({**STRIPE, **URL}))
