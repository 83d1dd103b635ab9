"""The generic provider: it says in settings what other providers say in classes, and every mistake has a name."""

import datetime as dt
import hashlib
import hmac
import json
import re
import tomllib
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.settings import made
from receiver.sources import PROVIDERS, Provider, Signed, build_sources, made_up

NOW = 1_760_000_000
ROOT = Path(__file__).resolve().parents[2]
SECRET = "s" * 32
PLAIN = {"secrets": SECRET, "header": "X-Signature"}
TIMED = {**PLAIN, "timestamp_header": "X-Time", "signed": "{timestamp}.{body}"}
LISTED = {**PLAIN, "separator": ",", "scheme": "v1", "timestamp_item": "t", "signed": "{timestamp}.{body}"}


def source(given_: Mapping[str, object]) -> Provider:
    found = build_sources(made(sources={"a": {"provider": "hmac", **given_}}), Path())
    return found["a"].provider


def arrived(signed: Signed, **changed: bytes | None) -> Callback:
    """As it arrives, with headers changed or left out: `x_time` is the header `x-time`."""
    headers = {name.lower().encode(): value.encode() for name, value in signed.headers}
    for name, value in changed.items():
        header = name.replace("_", "-").encode()
        headers.pop(header, None)
        if value is not None:
            headers[header] = value
    return Callback(method="POST", headers=list(headers.items()), body=signed.body)


def fact(provider: Provider, callback: Callback, now: float = NOW) -> Fact:
    (found,) = provider.verify(callback, now).facts
    return found


# What built-in providers do, said in settings.
SAME: Mapping[str, Mapping[str, object]] = {
    "github": {
        "header": "X-Hub-Signature-256",
        "prefix": "sha256=",
        "id_header": "X-GitHub-Delivery",
        "type_header": "X-GitHub-Event",
        "entity": ["sponsorship.node_id", "marketplace_purchase.account.id", "repository.id"],
    },
    "stripe": {
        "header": "Stripe-Signature",
        "separator": ",",
        "scheme": "v1",
        "timestamp_item": "t",
        "signed": "{timestamp}.{body}",
        "id": "id",
        "type": "type",
        "entity": ["data.object.id", "related_object.id"],
        "livemode": "livemode",
    },
    "paddle": {
        "header": "Paddle-Signature",
        "separator": ";",
        "scheme": "h1",
        "timestamp_item": "ts",
        "signed": "{timestamp}:{body}",
        "tolerance": 5,
        "id": "event_id",
        "type": "event_type",
        "entity": "data.id",
        "time": "occurred_at",
    },
    "shopify": {
        "header": "X-Shopify-Hmac-Sha256",
        "encoding": "base64",
        "id_header": "X-Shopify-Event-Id",
        "type_header": "X-Shopify-Topic",
        "entity": ["id", "admin_graphql_api_id"],
    },
    "square": {
        "header": "x-square-hmacsha256-signature",
        "encoding": "base64",
        "signed": "{url}{body}",
        "url": "https://shop.example/callbacks/square",
        "id": "event_id",
        "type": "type",
    },
    "paystack": {
        "header": "x-paystack-signature",
        "algorithm": "sha512",
        "type": "event",
        "entity": ["data.reference", "data.transaction_reference", "data.subscription_code", "data.id"],
    },
    "standardwebhooks": {
        "header": "webhook-signature",
        "secret_encoding": "base64",
        "encoding": "base64",
        "separator": " ",
        "prefix": "v1,",
        "timestamp_header": "webhook-timestamp",
        "signed": "{header:webhook-id}.{timestamp}.{body}",
        "id_header": "webhook-id",
        "type": "type",
        "entity": "data.id",
        "time": "timestamp",
    },
    "razorpay": {
        "header": "x-razorpay-signature",
        "id_header": "x-razorpay-event-id",
        "type": "event",
        "time": "created_at",
    },
}


def pair(name: str) -> tuple[Provider, Provider]:
    """The built-in one and the generic one, with one secret."""
    built_in = {**made_up(name)}
    if name == "square":
        built_in["notification_url"] = SAME[name]["url"]
    secrets = built_in["secrets"]
    assert isinstance(secrets, list)
    bare = [secret.removeprefix("whsec_") if name == "standardwebhooks" else secret for secret in secrets]
    theirs = build_sources(made(sources={"a": built_in}), Path())["a"].provider
    return theirs, source({**SAME[name], "secrets": bare})


@pytest.mark.parametrize("name", SAME)
def test_it_takes_what_others_send(name: str) -> None:
    built_in, generic = pair(name)
    for what in built_in.samples:
        payload = built_in.sample(what, external_id=built_in.sample_id("1", NOW), entity_id="order1", created=NOW)
        callback = arrived(built_in.sign(payload, NOW))
        theirs, ours = fact(built_in, callback), fact(generic, callback)
        read = [field for field in ("id", "id_header") if field in SAME[name]]
        assert (ours.type, ours.odd) == (theirs.type, None)
        assert not read or ours.external_id == theirs.external_id
        assert "entity" not in SAME[name] or ours.entity_id == theirs.entity_id
        assert "time" not in SAME[name] or ours.occurred_at == theirs.occurred_at
        assert ours.livemode == theirs.livemode
        assert (ours.identity is None) == (theirs.identity is None), "what is not signed makes no key for either"


@pytest.mark.parametrize("name", SAME)
@settings(max_examples=15, deadline=None, database=None)
@given(data=st.data())
def test_it_refuses_what_they_refuse(name: str, data: st.DataObject) -> None:
    built_in, generic = pair(name)
    payload = built_in.sample("paid", external_id=built_in.sample_id("1", NOW), entity_id="order1", created=NOW)
    callback = arrived(built_in.sign(payload, NOW))
    at = data.draw(st.sampled_from([NOW, NOW + 5, NOW + 6, NOW - 6, NOW + 300, NOW + 301, NOW - 301]))
    name_of = data.draw(st.sampled_from([header for header, _ in callback.headers if header != b"content-type"]))
    change = data.draw(st.sampled_from([b"", b"0", b"=", b",", b"\xff", b"A"]))
    headers = [(header, value + change if header == name_of else value) for header, value in callback.headers]
    body = callback.body + data.draw(st.sampled_from([b"", b"", b" ", b"\n"]))
    changed = Callback(method="POST", headers=headers, body=body)
    assert accepts(generic, changed, at) == accepts(built_in, changed, at)


def accepts(provider: Provider, callback: Callback, now: float) -> bool:
    try:
        provider.authenticate(callback, now)
    except VerificationError:
        return False
    return True


def test_all_of_it_by_hand() -> None:
    """A secret in base64, SHA-512, an address, a header, a time in ISO 8601, a list with white space."""
    key = bytes(range(64))
    provider = source(
        {
            "secrets": ["b2xk", b64encode(key).decode()],
            "secret_encoding": "base64",
            "header": "X-Sig",
            "algorithm": "sha512",
            "encoding": "base64",
            "separator": "; ",
            "scheme": "s",
            "timestamp_item": "t",
            "timestamp_format": "iso",
            "tolerance": "30",
            "signed": "{url}|{timestamp}|{header:X-Request-Id}|{body}|end",
            "url": "https://shop.example/callbacks/a",
            "id_header": "X-Request-Id",
            "type": "a.b",
        }
    )
    sent = dt.datetime.fromtimestamp(NOW, dt.UTC).isoformat()
    body = b'{"a":{"b":"paid"}}'
    signed = f"https://shop.example/callbacks/a|{sent}|r1|".encode() + body + b"|end"
    digest = b64encode(hmac.new(key, signed, hashlib.sha512).digest())
    headers = [(b"x-sig", b"t=%b; s=AAAA; s=%b" % (sent.encode(), digest)), (b"x-request-id", b"r1")]
    callback = Callback(method="POST", headers=headers, body=body)
    verified = provider.verify(callback, NOW + 30)
    assert verified.secret == 1
    (found,) = verified.facts
    assert (found.external_id, found.identity, found.type) == ("r1", None, "paid"), "a signed id is the key"
    assert not accepts(provider, callback, NOW + 31)
    assert provider.kept_headers() == {b"content-type", b"x-sig", b"x-request-id"}


REFUSED: Mapping[str, tuple[Mapping[str, object], Mapping[str, bytes | None], str]] = {
    "no signature": (PLAIN, {"x_signature": None}, "signature_missing"),
    "an empty one": (PLAIN, {"x_signature": b""}, "signature_missing"),
    "no prefix": ({**PLAIN, "prefix": "sha256="}, {"x_signature": b"00"}, "signature_malformed"),
    "an id that is not ASCII": ({**PLAIN, "id_header": "X-Id"}, {"x_id": b"\xff"}, "header_malformed"),
    "not ASCII": (PLAIN, {"x_signature": b"\xc3\xa9"}, "header_malformed"),
    "no item of that name": (LISTED, {"x_signature": b"t=1760000000,v2=00"}, "signature_malformed"),
    "no time": (TIMED, {"x_time": None}, "timestamp_missing"),
    "an empty time": (TIMED, {"x_time": b""}, "timestamp_missing"),
    "a time that is none": (TIMED, {"x_time": b"1e9"}, "timestamp_malformed"),
    "no time in the list": (LISTED, {"x_signature": b"v1=00"}, "timestamp_missing"),
    "two times in the list": (LISTED, {"x_signature": b"t=1760000000,t=1760000000,v1=00"}, "timestamp_malformed"),
    "too old": (TIMED, {"x_time": b"%d" % (NOW - 301)}, "timestamp_expired"),
    "too young": (TIMED, {"x_time": b"%d" % (NOW + 301)}, "timestamp_future"),
    "another time": (TIMED, {"x_time": b"%d" % (NOW + 1)}, "signature_mismatch"),
    "no milliseconds": ({**TIMED, "timestamp_format": "milliseconds"}, {"x_time": b"+1"}, "timestamp_malformed"),
    "ISO that is none": ({**TIMED, "timestamp_format": "iso"}, {"x_time": b"today"}, "timestamp_malformed"),
    "a signed header gone": ({**PLAIN, "signed": "{header:X-Id}.{body}"}, {"x_id": None}, "header_missing"),
    "one that holds its border": (
        {**PLAIN, "signed": "{header:X-Id}.{header:X-No}.{body}"},
        {"x_id": b"a.b"},
        "header_malformed",
    ),
    "one behind the body": (
        {**PLAIN, "signed": "{body}.{header:X-No}.{header:X-Id}"},
        {"x_id": b"a.b"},
        "header_malformed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str) -> None:
    given_, changed, reason = REFUSED[case]
    provider = source(given_)
    signed = provider.sign({"id": "e"}, NOW)
    fact(provider, arrived(signed))
    with pytest.raises(VerificationError) as caught:
        provider.verify(arrived(signed, **changed), NOW)
    assert caught.value.reason == reason


def test_the_border_between_two_headers_cannot_be_moved() -> None:
    """The same bytes are signed, cut elsewhere: an id that nobody gave would be a second event."""
    provider = source({**PLAIN, "signed": "{header:X-Id}.{header:X-No}.{body}", "id_header": "X-Id"})
    signed = provider.seal(b"{}", NOW, {"X-Id": "e", "X-No": "1.2"})
    assert fact(provider, arrived(signed)).external_id == "e"
    with pytest.raises(VerificationError, match="header_malformed"):
        provider.verify(arrived(signed, x_id=b"e.1", x_no=b"2"), NOW)


def test_one_header_may_hold_the_text_beside_the_body() -> None:
    """As Toss Payments signs: body, colon, a time full of colons."""
    provider = source({**PLAIN, "signed": "{body}:{header:X-Time}"})
    assert fact(provider, arrived(provider.seal(b"{}", NOW, {"X-Time": "2026-01-01T12:00:00+09:00"}))).odd is None


@pytest.mark.parametrize("signed", ["{header:X-Id}{body}", "{header:X-Id}.{body}", "{body}{header:X-Id}"])
@settings(max_examples=40, deadline=None, database=None)
@given(data=st.data())
def test_the_border_of_the_body_can_be_moved_to_no_avail(signed: str, data: st.DataObject) -> None:
    """What an object in JSON ends or begins with is no object, whatever its strings hold."""
    provider = source({**PLAIN, "signed": signed, "id_header": "X-Id"})
    words = st.text('{}":,.[]\\ a1', max_size=6)
    body = json.dumps(data.draw(st.dictionaries(words, words | st.dictionaries(words, words), min_size=1))).encode()
    sent = provider.seal(body, NOW, {"X-Id": "e"})
    at = data.draw(st.integers(1, len(body) - 1))
    border = b"." if "." in signed else b""
    value, rest = (
        (b"e" + border + body[:at], body[at:]) if signed.startswith("{header") else (body[at:] + b"e", body[:at])
    )
    callback = arrived(sent, x_id=value)
    moved = Callback(method="POST", headers=callback.headers, body=rest.removeprefix(border))
    try:
        found = fact(provider, moved)
    except VerificationError:
        return
    assert found.odd is not None


WRONG: Mapping[str, tuple[Mapping[str, object], str]] = {
    "no secret": ({"header": "X"}, "secrets: is missing"),
    "no header": ({"secrets": "s"}, "header: is missing"),
    "a header with a colon": ({**PLAIN, "header": "X:"}, "header: 'X:' is no name of a header"),
    "an algorithm nobody knows": ({**PLAIN, "algorithm": "md5"}, "algorithm: 'md5' is none of 'sha256', 'sha1'"),
    "an encoding nobody knows": (
        {**PLAIN, "encoding": "octal"},
        "encoding: 'octal' is none of 'hex', 'base64', 'base64url'",
    ),
    "an encoding of the secret": ({**PLAIN, "secret_encoding": ["hex"]}, "secret_encoding: must be one string"),
    "a secret that is no hex": ({**PLAIN, "secret_encoding": "hex"}, "secrets[0]: is no hexadecimal"),
    "a secret that is no base64": ({**PLAIN, "secrets": "?", "secret_encoding": "base64"}, "secrets[0]: is no base64"),
    "no body": ({**PLAIN, "signed": "{header:x}"}, "signed: must hold {body} once"),
    "two bodies": ({**PLAIN, "signed": "{body}{body}"}, "signed: must hold {body} once"),
    "a place nobody knows": ({**PLAIN, "signed": "{nonce}.{body}"}, "signed: there is no place {nonce}"),
    "a header that is none": ({**PLAIN, "signed": "{header:}.{body}"}, "signed: there is no place {header:}"),
    "a brace too many": ({**PLAIN, "signed": "{{body}"}, "signed: a brace belongs to no place"),
    "two headers": ({**PLAIN, "signed": "{header:x}{header:y}.{body}"}, "signed: no text ends {header:x}"),
    "two behind": ({**PLAIN, "signed": "{body}{header:y}{header:x}"}, "signed: no text ends {header:x}"),
    "a header and a time": ({**TIMED, "signed": "{header:x}{timestamp}{body}"}, "signed: no text ends {header:x}"),
    "no address": ({**PLAIN, "signed": "{url}{body}"}, "url: is missing; signed holds {url}"),
    "an address for nothing": ({**PLAIN, "url": "https://a"}, "url: is given, but signed does not hold {url}"),
    "a time that is not signed": ({**PLAIN, "timestamp_header": "T"}, "signed: does not hold {timestamp}"),
    "a time from nowhere": (
        {**PLAIN, "signed": "{timestamp}{body}"},
        "timestamp_header: is missing, or timestamp_item",
    ),
    "two times": ({**TIMED, "separator": ",", "timestamp_item": "t"}, "timestamp_item: stands beside"),
    "items of nothing": ({**PLAIN, "scheme": "v1"}, "scheme: needs a separator"),
    "a time of nothing": ({**PLAIN, "timestamp_item": "t"}, "timestamp_item: needs a separator"),
    "a separator nobody uses": ({**PLAIN, "separator": "#"}, "separator: '#' is none of ',', ';', ' '"),
    "a prefix that is not ASCII": ({**PLAIN, "prefix": "é"}, "prefix: is not ASCII"),
    "a tolerance for nothing": ({**PLAIN, "tolerance": 5}, "tolerance: is given, but neither"),
    "a format for nothing": ({**PLAIN, "timestamp_format": "iso"}, "timestamp_format: is given, but neither"),
    "a negative tolerance": ({**TIMED, "tolerance": -1}, "tolerance: must be a number"),
    "an endless one": ({**TIMED, "tolerance": "inf"}, "tolerance: must be a number"),
    "a huge one": ({**TIMED, "tolerance": 10**400}, "tolerance: must be a number"),
    "one in words": ({**TIMED, "tolerance": "five"}, "tolerance: must be a number"),
    "one that is true": ({**TIMED, "tolerance": True}, "tolerance: must be a number"),
    "two ids": ({**PLAIN, "id": "id", "id_header": "X-Id"}, "id_header: stands beside id"),
    "two types": ({**PLAIN, "type": "t", "type_header": "X-Type"}, "type_header: stands beside type"),
    "an empty member": ({**PLAIN, "id": "event..id"}, "id: 'event..id' has an empty member"),
    "an empty entity": ({**PLAIN, "entity": ["a", "b."]}, "entity[1]: 'b.' has an empty member"),
    "a setting nobody knows": ({**PLAIN, "headers": "x"}, "headers: unknown setting; hmac has provider, verification"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_named(case: str) -> None:
    given_, message = WRONG[case]
    with pytest.raises(SettingsError) as caught:
        source(given_)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"sources.a.{message}")


def test_samples_stand_where_the_settings_look() -> None:
    provider = source(
        {
            **PLAIN,
            "id": "event.uuid",
            "type": "event.kind",
            "entity": ["order.number", "data.id"],
            "time": "event.at",
        }
    )
    payload = provider.sample("paid", external_id="evt_1", entity_id="order1", created=NOW)
    found = fact(provider, arrived(provider.sign(payload, NOW)))
    assert (found.external_id, found.type, found.entity_id) == ("evt_1", "payment.succeeded", "order1")
    assert found.occurred_at == dt.datetime.fromtimestamp(NOW, dt.UTC)
    own = {"event": {"uuid": "mine"}, "order": "no table", "id": "evt_1"}
    found = fact(provider, arrived(provider.sign(own, NOW)))
    assert (found.external_id, found.entity_id) == ("mine", None), "what is there already stays as it is"


@pytest.mark.parametrize("id_setting", [{"id_header": "X-Id"}, {}])
def test_an_id_that_is_not_signed_makes_no_key(id_setting: Mapping[str, object]) -> None:
    provider = source({**PLAIN, "type_header": "X-Type", **id_setting})
    signed = provider.sign({"id": "e", "type": "t"}, NOW)
    once, forged = (fact(provider, arrived(signed, x_id=value)) for value in (b"e", b"forged"))
    assert (once.identity or once.external_id) == (forged.identity or forged.external_id)
    assert once.external_id != "e" or forged.external_id == "forged"
    other = fact(provider, arrived(signed, x_type=b"u"))
    assert (other.identity or other.external_id) != (once.identity or once.external_id)


def test_without_verification_it_only_reads() -> None:
    provider = source({"verification": "none", "id": "id", "type": "type"})
    (found,) = provider.read(Callback(method="POST", headers=[], body=b'{"id":"e","type":"t"}'))
    assert (found.external_id, found.type) == ("e", "t")
    with pytest.raises(SettingsError, match=r"^secrets: is needed to sign"):
        provider.sign({}, NOW)


NOTES = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/providers/notes/hmac.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", NOTES, ids=[text.partition("\n")[0] for text in NOTES])
def test_what_the_page_shows_works(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in re.findall(r"env:(\w+)", text):
        monkeypatch.setenv(variable, b64encode(b"k" * 32).decode())
    (built,) = build_sources(made(sources=tomllib.loads(text)["sources"]), Path()).values()
    payload = PROVIDERS["hmac"].sample("paid", external_id="evt_1", entity_id="order1", created=NOW)
    found = fact(built.provider, arrived(built.sign(payload, NOW)))
    assert (found.external_id, found.type, found.odd) == ("evt_1", "payment.succeeded", None)


def test_slacks_own_example() -> None:
    """The signature of a command that Slack's documents show: a form, so read it cannot be."""
    slack = tomllib.loads(NOTES[1])["sources"]["chat"]
    provider = source(
        {**{k: v for k, v in slack.items() if k != "provider"}, "secrets": "8f742231b10e8888abcd99yyyzzz85a5"}
    )
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
        b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
        b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015."
        b"47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = [
        (b"x-slack-request-timestamp", b"1531420618"),
        (b"x-slack-signature", b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
    ]
    assert fact(provider, Callback(method="POST", headers=headers, body=body), 1531420618).odd == "json_invalid"
