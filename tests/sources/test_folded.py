"""Alipay and UnionPay escape nothing in what they sign: nobody gets a second event by moving the borders in it."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

import pytest

from receiver.events import Callback, Fact
from receiver.sources import PROVIDERS, Provider, forms, made_up
from tests.sources.conftest import NOW, provider_with

UNSIGNED = {b"sign", b"sign_type", b"signature"}
NEEDED: Mapping[str, set[bytes]] = {"alipay": set(), "unionpay": {b"signPubKeyCert", b"signMethod", b"version"}}
"""Without which nothing verifies."""
NAMES = ("alipay", "unionpay")
SAMPLES = [(name, what) for name in NAMES for what in PROVIDERS[name].samples]
Form = dict[bytes, bytes]


@pytest.fixture(scope="module")
def accounts() -> Mapping[str, Provider]:
    return {name: provider_with(made_up(name)) for name in NAMES}


def sent(provider: Provider, what: str = "paid", **more: str) -> Form:
    payload = provider.sample(what, external_id="20251009002221653201234567890123", entity_id="1", created=NOW)
    return forms.parsed(provider.sign({**payload, **more}, NOW).body)


def fact(provider: Provider, form: Form) -> Fact:
    """Of what verifies."""
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    (found,) = provider.verify(Callback(method="POST", headers=headers, body=urlencode(form).encode()), NOW).facts
    return found


def foldings(form: Form, needed: set[bytes]) -> Iterator[Form]:
    """One, two or all of the parameters behind another, folded into its value."""
    signed = sorted(form.keys() - UNSIGNED)
    for first, name in enumerate(signed):
        for until in sorted({first + 2, first + 3, len(signed)}):
            gone = signed[first + 1 : until]
            if gone and needed.isdisjoint({name, *gone}):
                value = b"".join(b"&%b=%b" % (other, form[other]) for other in gone)
                yield {n: v for n, v in form.items() if n not in gone} | {name: form[name] + value}


@pytest.mark.parametrize(("name", "what"), SAMPLES)
def test_no_parameter_is_folded_into_the_one_before_it(accounts: Mapping[str, Provider], name: str, what: str) -> None:
    form = sent(accounts[name], what)
    assert fact(accounts[name], form).odd is None
    found = [fact(accounts[name], each) for each in foldings(form, NEEDED[name])]
    assert len(found) > len(form) / 2
    assert {(each.odd, each.external_id) for each in found} == {("form_ambiguous", None)}


def test_an_empty_parameter_that_is_not_signed_hides_nothing(accounts: Mapping[str, Provider]) -> None:
    form = sent(accounts["alipay"])
    form[b"notify_id"] += b"&notify_time=" + form.pop(b"notify_time")
    assert fact(accounts["alipay"], {**form, b"notify_j": b""}).odd == "form_ambiguous"


@pytest.mark.parametrize("name", NAMES)
def test_no_value_becomes_a_part_of_its_name(accounts: Mapping[str, Provider], name: str) -> None:
    form = sent(accounts[name], reserved="a=b")
    form[b"reserved=a"] = form.pop(b"reserved").partition(b"=")[2]
    assert fact(accounts[name], form).odd == "form_ambiguous"


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_becomes_a_part_of_the_next_ones_name(accounts: Mapping[str, Provider], name: str) -> None:
    form = sent(accounts[name], zz="1", zzz="2")
    form[b"zz=1&zzz"] = form.pop(b"zzz")
    del form[b"zz"]
    assert fact(accounts[name], form).odd == "form_ambiguous"


@pytest.mark.parametrize(
    "text", ["Tom & Jerry", "a = b", "&", "&&=", "x&a=1", "x&zzz=1", "x&merId=1&notify_id=2", "x&pb", "x&res"]
)
@pytest.mark.parametrize("name", NAMES)
def test_texts_with_ampersands_are_texts(accounts: Mapping[str, Provider], name: str, text: str) -> None:
    """Where no parameter of that name could stand."""
    assert fact(accounts[name], sent(accounts[name], passback_params=text, reqReserved=text)).odd is None
