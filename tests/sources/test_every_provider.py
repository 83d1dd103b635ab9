"""What holds of every provider, whatever its scheme: generated from the class, so that a new one is held to it too."""

from functools import cache

import pytest

from receiver.errors import VerificationError
from receiver.events import Callback, Fact
from receiver.sources import PROVIDERS, Provider, Signed, made_up
from tests.sources.conftest import NOW, provider_with

SAMPLES = [(name, what) for name, kind in PROVIDERS.items() for what in kind.samples]
UNSIGNED = {"toss"}
"""Whose samples of payments are of events that are really sent without a signature."""


@cache
def provider(name: str, which: int = 0) -> Provider:
    """One account, or with another `which` a stranger's."""
    del which
    return provider_with(made_up(name))


def payload(name: str, what: str, unique: str = "123456789012345") -> dict[str, object]:
    kind = PROVIDERS[name]
    return kind.sample(what, external_id=kind.sample_id(unique, NOW), entity_id="order1", created=NOW)


def arrived(signed: Signed) -> Callback:
    headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers]
    return Callback(method="POST", headers=headers, body=signed.body, query=signed.query.encode())


def facts(name: str, what: str, now: int = NOW) -> tuple[Fact, ...]:
    signed = provider(name).sign(payload(name, what), now)
    return provider(name).verify(arrived(signed), now).facts


def key_of(fact: Fact) -> tuple[str | None, int]:
    """What the key is made of."""
    return fact.identity or fact.external_id, fact.key_time


@pytest.mark.parametrize(("name", "what"), SAMPLES)
def test_a_sample_is_a_genuine_event(name: str, what: str) -> None:
    (fact,) = facts(name, what)
    assert fact.odd is None
    assert fact.external_id
    assert fact.type == PROVIDERS[name].samples[what].type
    assert fact.entity_id, "lanes go by it"


@pytest.mark.parametrize("name", PROVIDERS)
def test_different_facts_about_one_thing_are_different_events(name: str) -> None:
    keys: dict[tuple[str | None, int, bytes | None], str] = {}
    for number, what in enumerate(PROVIDERS[name].samples):
        # Each with an id of its own, where the provider gives ids: else type, state and the like tell them apart.
        signed = provider(name).sign(payload(name, what, f"12345678901234{number}"), NOW)
        for fact in provider(name).verify(arrived(signed), NOW).facts:
            key = (*key_of(fact), None)
            assert key not in keys, f"{what} would be taken for {keys[key]}"
            keys[key] = what


def refusal(name: str, callback: Callback, now: int = NOW) -> str:
    with pytest.raises(VerificationError) as caught:
        provider(name).verify(callback, now)
    return caught.value.reason


@pytest.mark.parametrize("name", PROVIDERS)
def test_signed_by_a_stranger(name: str) -> None:
    stranger = provider(name, 1)
    signed = stranger.sign(payload(name, "paid"), NOW)
    assert refusal(name, arrived(signed)) in {"signature_mismatch", "key_unknown", "certificate_untrusted"}


@pytest.mark.parametrize("name", PROVIDERS)
def test_without_any_header(name: str) -> None:
    callback = arrived(provider(name).sign(payload(name, "paid"), NOW))
    bare = Callback(method="POST", headers=[], body=b"{}", query=callback.query)
    assert refusal(name, bare).endswith("_missing")


@pytest.mark.parametrize("name", [name for name, kind in PROVIDERS.items() if kind.signature_header])
@pytest.mark.parametrize("value", [b"", b",", b"=", b"v1,", b"\xff\xfe", "é".encode(), b"A" * 20_000, b"0"])
def test_a_signature_that_is_none(name: str, value: bytes) -> None:
    header = PROVIDERS[name].signature_header
    callback = arrived(provider(name).sign(payload(name, "paid"), NOW))
    headers = [pair for pair in callback.headers if pair[0] != header] + [(header or b"", value)]
    assert refusal(name, Callback(method="POST", headers=headers, body=callback.body, query=callback.query))


@pytest.mark.parametrize("name", [name for name, kind in PROVIDERS.items() if kind.trust == "signed"])
def test_one_bit_of_what_is_signed(name: str) -> None:
    callback = arrived(provider(name).sign(payload(name, "paid"), NOW))
    place = next(at for at in range(len(callback.body) // 3, len(callback.body)) if chr(callback.body[at]).isalnum())
    body = callback.body[:place] + bytes([callback.body[place] ^ 1]) + callback.body[place + 1 :]
    assert refusal(name, Callback(method="POST", headers=callback.headers, body=body, query=callback.query))


@pytest.mark.parametrize("name", PROVIDERS)
def test_all_that_is_kept_is_named(name: str) -> None:
    """Only those headers are stored that are listed, and a secret that is sent is not one of them."""
    kept = PROVIDERS[name].keep_headers
    assert all(header == header.lower() for header in kept)
    if PROVIDERS[name].trust == "sender":
        secrets = [value.encode() for value in _texts(made_up(name)["secrets"])]
        signed = provider(name).sign(payload(name, "paid"), NOW)
        assert not any(value.encode() in secrets for header, value in signed.headers if header.lower().encode() in kept)


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else [str(values)]


def test_every_one_says_what_people_should_know() -> None:
    for name, kind in PROVIDERS.items():
        assert kind.name == name
        assert kind.about.signed
        assert kind.about.sources
        assert len(kind.samples) >= 5, name
