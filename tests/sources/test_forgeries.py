"""What no provider sent is refused with the one verification error, whatever is wrong with it."""

import hashlib
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import MADE_UP
from tests.sources.conftest import (
    JSON_NAMES,
    NAMES,
    NOW,
    Kit,
    alipay_form,
    ed25519_key,
    first,
    header,
    private_key,
    provider_with,
    with_body,
    with_header,
)

Change = Callable[[Callback, Kit], Callback]
SIGNATURE = {
    "stripe": b"stripe-signature",
    "standardwebhooks": b"webhook-signature",
    "wechatpay": b"wechatpay-signature",
}
TIMESTAMP = {"standardwebhooks": b"webhook-timestamp", "wechatpay": b"wechatpay-timestamp"}
ARABIC = "١٧٦٠٠٠٠٠٠٠".encode()


def refusal(kit: Kit, callback: Callback, now: float = NOW) -> str:
    """Why the callback is refused."""
    with pytest.raises(VerificationError) as caught:
        kit.provider.verify(callback, now)
    assert str(caught.value) == caught.value.reason, "the message is the reason and nothing more"
    return caught.value.reason


def signature(change: Callable[[bytes], bytes]) -> Change:
    """Change the header that holds the signature."""

    def changed(callback: Callback, kit: Kit) -> Callback:
        name = SIGNATURE[kit.name]
        return with_header(callback, name, change(header(callback, name)))

    return changed


def body(change: Callable[[bytes], bytes]) -> Change:
    """Change the body."""
    return lambda callback, _: with_body(callback, change(callback.body))


def timestamped(value: bytes) -> Change:
    """Put another spelling where the timestamp stands."""

    def changed(callback: Callback, kit: Kit) -> Callback:
        if kit.name == "stripe":
            old = header(callback, b"stripe-signature")
            return with_header(callback, b"stripe-signature", old.replace(b"t=%d" % NOW, b"t=" + value))
        return with_header(callback, TIMESTAMP[kit.name], value)

    return changed


EVERY_JSON: Mapping[str, tuple[Change, set[str]]] = {
    "no signature": (lambda c, k: with_header(c, SIGNATURE[k.name]), {"signature_missing"}),
    "empty signature": (signature(lambda _: b""), {"signature_missing"}),
    "truncated": (signature(lambda s: s[:-9]), {"signature_mismatch", "signature_malformed"}),
    "a byte longer": (signature(lambda s: s + b"0"), {"signature_mismatch", "signature_malformed"}),
    "overlong": (signature(lambda s: s + b"A" * 9000), {"header_malformed"}),
    "20,000 signatures": (signature(lambda s: b" ".join([s] * 20_000)), {"header_malformed"}),
    "not ASCII": (signature(lambda s: s + "é".encode()), {"header_malformed"}),
    "Latin-1 byte": (signature(lambda s: b"\xff" + s), {"header_malformed"}),
    "junk inside": (signature(lambda s: s[:30] + b"!*" + s[30:]), {"signature_mismatch", "signature_malformed"}),
    "newline inside": (signature(lambda s: s[:30] + b"\n" + s[30:]), {"signature_mismatch", "signature_malformed"}),
    "just a version": (
        signature(lambda _: b"v1,"),
        {"timestamp_missing", "signature_mismatch", "signature_malformed"},
    ),
    "commas alone": (signature(lambda _: b",,"), {"signature_malformed"}),
    "two headers that differ": (
        lambda c, k: with_header(c, SIGNATURE[k.name], header(c, SIGNATURE[k.name]), b"v1=0"),
        {"header_conflict"},
    ),
    "one bit of the body": (body(lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:]), {"signature_mismatch"}),
    "a trailing newline": (body(lambda b: b + b"\n"), {"signature_mismatch"}),
    "serialised again": (
        body(lambda b: json.dumps(json.loads(b), indent=7).encode()),
        {"signature_mismatch"},
    ),
    "not UTF-8": (body(lambda b: b + b"\xff\xfe"), {"signature_mismatch"}),
    "empty body": (body(lambda _: b""), {"signature_mismatch"}),
    "timestamp empty": (timestamped(b""), {"timestamp_missing", "timestamp_malformed"}),
    **{
        f"timestamp {value!r}": (timestamped(value), {"timestamp_malformed"})
        for value in (b"NaN", b"1e400", b"1760000000.9", b"1_760_000_000", b" 1760000000", b"1760000000 ")
    },
    **{
        f"timestamp {value!r}": (timestamped(value), {"timestamp_malformed"})
        for value in (b"+1760000000", b"-1760000000", b"0x68E77800", b"9" * 13, b"9" * 5000, b"1760000000\x00")
    },
    "timestamp in Arabic digits": (timestamped(ARABIC), {"header_malformed"}),
    "timestamp a second later": (timestamped(b"%d" % (NOW + 1)), {"signature_mismatch"}),
    "timestamp in milliseconds": (timestamped(b"%d" % (NOW * 100)), {"timestamp_future"}),
    "timestamp zero": (timestamped(b"0"), {"timestamp_expired"}),
}


@pytest.mark.parametrize(
    ("name", "version"),
    [("stripe", b""), ("standardwebhooks", b"v1"), ("standardwebhooks", b"v1a"), ("wechatpay", b"")],
)
@pytest.mark.parametrize("case", EVERY_JSON)
def test_changed_after_signing(kits: Mapping[str, Kit], name: str, version: bytes, case: str) -> None:
    change, reasons = EVERY_JSON[case]
    kit = kits[name]
    callback = kit.sent()
    if version:
        callback = signature(entry(version))(callback, kit)
    assert kit.provider.verify(callback, NOW).facts, "what is changed below was valid"
    assert refusal(kit, change(callback, kit)) in reasons


def hmac_hex(key: bytes, callback: Callback, algorithm: str = "sha256") -> bytes:
    return hmac.new(key, b"%d.%b" % (NOW, callback.body), algorithm).hexdigest().encode()


def stripe_signed(*items: bytes) -> Change:
    return lambda c, _: with_header(c, b"stripe-signature", b",".join([b"t=%d" % NOW, *items]))


def right(callback: Callback) -> bytes:
    """The `v1` item of a callback that is fine."""
    return header(callback, b"stripe-signature").split(b",")[1]


STRIPE: Mapping[str, tuple[Change, str]] = {
    "only v0": (signature(lambda s: s.replace(b"v1=", b"v0=")), "signature_missing"),
    "only v2": (signature(lambda s: s.replace(b"v1=", b"v2=")), "signature_missing"),
    "two t": (signature(lambda s: b"t=%d," % NOW + s), "timestamp_malformed"),
    "two t that differ": (signature(lambda s: s + b",t=1"), "timestamp_malformed"),
    "no t": (signature(lambda s: s.split(b",")[1]), "timestamp_missing"),
    "no comma": (signature(lambda s: s.replace(b",", b"")), "signature_missing"),
    "no equals sign": (signature(lambda _: b"bad_header"), "signature_malformed"),
    "space before v1": (signature(lambda s: s.replace(b",", b", ")), "signature_missing"),
    "upper-case digits": (signature(lambda s: s[:16] + s[16:].upper()), "signature_mismatch"),
    "base64 in place of hex": (
        lambda c, k: stripe_signed(b"v1=" + b64encode(bytes.fromhex(right(c)[3:].decode())))(c, k),
        "signature_mismatch",
    ),
    "SHA-1": (
        lambda c, k: stripe_signed(b"v1=" + hmac_hex(first(k.settings["secrets"]).encode(), c, "sha1"))(c, k),
        "signature_mismatch",
    ),
    "secret without its prefix": (
        lambda c, k: stripe_signed(b"v1=" + hmac_hex(first(k.settings["secrets"])[6:].encode(), c))(c, k),
        "signature_mismatch",
    ),
    "body alone signed": (
        lambda c, k: stripe_signed(
            b"v1=" + hmac.new(first(k.settings["secrets"]).encode(), c.body, hashlib.sha256).hexdigest().encode()
        )(c, k),
        "signature_mismatch",
    ),
    "keyed with nothing": (lambda c, k: stripe_signed(b"v1=" + hmac_hex(b"", c))(c, k), "signature_mismatch"),
}


@pytest.mark.parametrize("case", STRIPE)
def test_stripe(kits: Mapping[str, Kit], case: str) -> None:
    change, reason = STRIPE[case]
    kit = kits["stripe"]
    assert refusal(kit, change(kit.sent(), kit)) == reason


def v1_with(key: Callable[[Kit], bytes]) -> Change:
    """A `v1` signature made with another key."""

    def changed(callback: Callback, kit: Kit) -> Callback:
        signed = b"%b.%d.%b" % (header(callback, b"webhook-id"), NOW, callback.body)
        digest = hmac.new(key(kit), signed, hashlib.sha256).digest()
        return with_header(callback, b"webhook-signature", b"v1," + b64encode(digest))

    return changed


def entry(version: bytes) -> Callable[[bytes], bytes]:
    """The one entry of that version out of a list."""
    return lambda s: next(part for part in s.split(b" ") if part.startswith(version + b","))


def renamed(callback: Callback, only: bytes) -> Callback:
    """One header under its svix name, the others under their usual ones."""
    headers = [(b"svix-" + only if name == b"webhook-" + only else name, value) for name, value in callback.headers]
    return Callback(method="POST", headers=headers, body=callback.body)


def halved(s: bytes) -> bytes:
    """The signature of `v1a`, half as long."""
    return b"v1a," + b64encode(b64decode(entry(b"v1a")(s)[4:])[:32])


STANDARD: Mapping[str, tuple[Change, str]] = {
    "id missing": (lambda c, _: with_header(c, b"webhook-id"), "id_missing"),
    "id empty": (lambda c, _: with_header(c, b"webhook-id", b""), "id_missing"),
    "id swapped": (lambda c, _: with_header(c, b"webhook-id", b"msg_other"), "signature_mismatch"),
    "two ids": (lambda c, _: with_header(c, b"webhook-id", b"msg_a", b"msg_b"), "header_conflict"),
    "timestamp missing": (lambda c, _: with_header(c, b"webhook-timestamp"), "timestamp_missing"),
    "unknown version": (signature(lambda s: s.replace(b"v1", b"v2")), "signature_malformed"),
    "no comma": (signature(lambda s: entry(b"v1")(s).replace(b",", b"")), "signature_malformed"),
    "two commas": (signature(lambda s: entry(b"v1")(s).replace(b",", b",,")), "signature_mismatch"),
    "two commas in v1a": (signature(lambda s: entry(b"v1a")(s).replace(b",", b",,")), "signature_mismatch"),
    "comma behind": (signature(lambda s: entry(b"v1")(s) + b","), "signature_mismatch"),
    "padding dropped": (signature(lambda s: entry(b"v1")(s).rstrip(b"=")), "signature_mismatch"),
    "stray bits": (signature(lambda s: entry(b"v1")(s)[:-2] + b"_="), "signature_mismatch"),
    "v1a in hex": (signature(lambda s: b"v1a," + b64decode(entry(b"v1a")(s)[4:]).hex().encode()), "signature_mismatch"),
    "v1a too short": (signature(halved), "signature_mismatch"),
    "v1 as v1a": (signature(lambda s: entry(b"v1")(s).replace(b"v1", b"v1a")), "signature_mismatch"),
    "v1a as v1": (signature(lambda s: entry(b"v1a")(s).replace(b"v1a", b"v1")), "signature_mismatch"),
    "keyed with the public key": (
        v1_with(lambda k: b64decode(first(k.settings["public_keys"]).removeprefix("whpk_"))),
        "signature_mismatch",
    ),
    "keyed with the secret's text": (v1_with(lambda k: first(k.settings["secrets"]).encode()), "signature_mismatch"),
    "keyed with nothing": (v1_with(lambda _: b""), "signature_mismatch"),
    "id under the other name": (lambda c, _: renamed(c, b"id"), "id_missing"),
    "signature under the other name": (lambda c, _: renamed(c, b"signature"), "signature_missing"),
}


@pytest.mark.parametrize("case", STANDARD)
def test_standardwebhooks(kits: Mapping[str, Kit], case: str) -> None:
    change, reason = STANDARD[case]
    kit = kits["standardwebhooks"]
    assert refusal(kit, change(kit.sent(), kit)) == reason


def test_a_late_v1a_is_not_looked_for(kits: Mapping[str, Kit]) -> None:
    """Each is expensive: behind eight that do not match, a ninth is not tried."""
    kit = kits["standardwebhooks"]
    callback = kit.sent()
    good = entry(b"v1a")(header(callback, b"webhook-signature"))
    other = ed25519_key(MADE_UP["standardwebhooks"]())
    bad = [b"v1a," + b64encode(other.sign(b"%d" % i)) for i in range(8)]
    eighth = with_header(callback, b"webhook-signature", b" ".join([*bad[1:], good]))
    assert kit.provider.verify(eighth, NOW).facts
    assert refusal(kit, with_header(callback, b"webhook-signature", b" ".join([*bad, good]))) == "signature_mismatch"


WECHAT: Mapping[str, tuple[Change, str]] = {
    "serial missing": (lambda c, _: with_header(c, b"wechatpay-serial"), "serial_missing"),
    "serial unknown": (lambda c, _: with_header(c, b"wechatpay-serial", b"DEADBEEF"), "key_unknown"),
    "serial zero": (lambda c, _: with_header(c, b"wechatpay-serial", b"000"), "key_unknown"),
    "nonce missing": (lambda c, _: with_header(c, b"wechatpay-nonce"), "nonce_missing"),
    "nonce changed": (lambda c, _: with_header(c, b"wechatpay-nonce", b"other"), "signature_mismatch"),
    "two nonces": (lambda c, _: with_header(c, b"wechatpay-nonce", b"a", b"b"), "header_conflict"),
    "timestamp missing": (lambda c, _: with_header(c, b"wechatpay-timestamp"), "timestamp_missing"),
    "probe": (signature(lambda s: b"WECHATPAY/SIGNTEST/" + s[19:]), "signature_malformed"),
    "another type": (
        lambda c, _: with_header(c, b"wechatpay-signature-type", b"WECHATPAY2-SM2-WITH-SM3"),
        "signature_type_unknown",
    ),
    "SHA-1": (
        lambda c, k: with_header(
            c,
            b"wechatpay-signature",
            b64encode(
                private_key(k.settings).sign(
                    b"%d\n%b\n%b\n" % (NOW, header(c, b"wechatpay-nonce"), c.body), PKCS1v15(), SHA1()
                )
            ),
        ),
        "signature_mismatch",
    ),
}


@pytest.mark.parametrize("case", WECHAT)
def test_wechatpay(kits: Mapping[str, Kit], case: str) -> None:
    change, reason = WECHAT[case]
    kit = kits["wechatpay"]
    assert refusal(kit, change(kit.sent(), kit)) == reason


def replaced(old: bytes, new: bytes) -> Change:
    """Change the form; what is to be replaced must be there."""

    def changed(callback: Callback, _: Kit) -> Callback:
        assert old in callback.body
        return with_body(callback, callback.body.replace(old, new))

    return changed


def sign_value(change: Callable[[bytes], bytes]) -> Change:
    """Change the value of `sign`, as it is encoded in the form."""

    def changed(callback: Callback, _: Kit) -> Callback:
        pairs = callback.body.split(b"&")
        return with_body(callback, b"&".join(change(p) if p.startswith(b"sign=") else p for p in pairs))

    return changed


def signed_otherwise(callback: Callback, kit: Kit) -> Callback:
    """An RSA (SHA-1) signature that says so."""
    form = {b"notify_id": b"1", b"sign_type": b"RSA"}
    sign = b64encode(private_key(kit.settings).sign(b"notify_id=1", PKCS1v15(), SHA1()))
    sent = alipay_form(private_key(kit.settings), form)
    return with_body(callback, sent.body.split(b"&sign=")[0] + b"&sign=" + sign.replace(b"+", b"%2B"))


ALIPAY: Mapping[str, tuple[Change, str]] = {
    "sign missing": (sign_value(lambda _: b""), "signature_missing"),
    "sign empty": (sign_value(lambda _: b"sign="), "signature_missing"),
    "sign truncated": (
        sign_value(lambda s: b"sign=" + quote(unquote_to_bytes(s[5:])[:96], safe="").encode()),
        "signature_mismatch",
    ),
    "sign longer": (sign_value(lambda s: b"sign=AAAA" + s[5:]), "signature_mismatch"),
    "sign padded twice": (sign_value(lambda s: s + b"%3D"), "signature_malformed"),
    "junk in the sign": (sign_value(lambda s: s[:50] + b"%21%2A" + s[50:]), "signature_malformed"),
    "sign not ASCII": (sign_value(lambda s: s + b"%C3%A9"), "signature_malformed"),
    "sign decoded twice": (sign_value(lambda s: s.replace(b"%2F", b"%252F") + b"%253D"), "signature_malformed"),
    "amount changed": (replaced(b"total_amount=42.00", b"total_amount=42.01"), "signature_mismatch"),
    "status changed": (replaced(b"TRADE_SUCCESS", b"TRADE_FINISHED"), "signature_mismatch"),
    "parameter removed": (replaced(b"&version=1.0", b""), "signature_mismatch"),
    "parameter added": (replaced(b"&version=1.0", b"&version=1.0&zz=1"), "signature_mismatch"),
    "parameter twice": (replaced(b"&version=1.0", b"&version=1.0&version=1.0"), "form_duplicate_name"),
    "sign twice": (replaced(b"&version=1.0", b"&version=1.0&sign=AAAA"), "form_duplicate_name"),
    "name twice, encoded": (replaced(b"&version=1.0", b"&version=1.0&vers%69on=2"), "form_duplicate_name"),
    "no name": (replaced(b"&version=1.0", b"&version=1.0&=x"), "form_malformed"),
    "too many": (replaced(b"&version=1.0", b"&a" * 20_000), "form_malformed"),
    "encoded once more": (replaced(b"%3A", b"%253A"), "signature_mismatch"),
    "a trailing newline": (body(lambda b: b + b"\n"), "form_malformed"),
    "a trailing newline, escaped": (replaced(b"version=1.0", b"version=1.0%0A"), "signature_mismatch"),
    "empty body": (body(lambda _: b""), "signature_missing"),
    "JSON": (body(lambda _: b'{"sign":"AAAA"}'), "signature_missing"),
    "not UTF-8": (body(lambda b: b"\xff\xfe" + b), "form_malformed"),
    "signed as RSA": (signed_otherwise, "signature_mismatch"),
    "GET with a signed body": (
        lambda c, _: Callback(method="GET", headers=c.headers, body=c.body),
        "signature_missing",
    ),
}


@pytest.mark.parametrize("case", ALIPAY)
def test_alipay(kits: Mapping[str, Kit], case: str) -> None:
    change, reason = ALIPAY[case]
    kit = kits["alipay"]
    assert refusal(kit, change(kit.sent(), kit)) == reason


@pytest.mark.parametrize("name", NAMES)
def test_another_account_of_the_same_provider(kits: Mapping[str, Kit], name: str) -> None:
    stranger = provider_with(MADE_UP[name]())
    payload = kits[name].payload()
    signed = stranger.sign(payload, NOW)
    headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers]
    callback = Callback(method="POST", headers=headers, body=signed.body)
    assert refusal(kits[name], callback) in {"signature_mismatch", "key_unknown"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_another_provider(kits: Mapping[str, Kit], name: str, other: str) -> None:
    if name != other:
        assert refusal(kits[name], kits[other].sent()).endswith(("_missing", "_malformed"))


@pytest.mark.parametrize("name", ["stripe", "standardwebhooks"])
def test_a_retired_secret(kits: Mapping[str, Kit], name: str) -> None:
    old, new = kits[name].settings, MADE_UP[name]()
    secrets = [first(new["secrets"]), first(old["secrets"])]
    both = provider_with({"provider": name, "secrets": secrets})
    callback = kits[name].sent()
    assert both.verify(callback, NOW).secret == 1, "the second of two secrets matched"
    with pytest.raises(VerificationError):
        provider_with({"provider": name, "secrets": secrets[:1]}).verify(callback, NOW)


WINDOW = {
    "stripe": (300, 300.5),
    "standardwebhooks": (300, 300.5),
    "wechatpay": (299.5, 300),
}


@pytest.mark.parametrize("name", JSON_NAMES)
@pytest.mark.parametrize(("sign", "reason"), [(1, "timestamp_expired"), (-1, "timestamp_future")])
def test_time_window(kits: Mapping[str, Kit], name: str, sign: int, reason: str) -> None:
    kit, (inside, outside) = kits[name], WINDOW[name]
    assert kit.provider.verify(kit.sent(), NOW + sign * inside).facts
    assert refusal(kit, kit.sent(), NOW + sign * outside) == reason


def test_alipay_signs_no_time(kits: Mapping[str, Kit]) -> None:
    assert kits["alipay"].provider.verify(kits["alipay"].sent(), NOW * 2).facts


STILL_VALID: Mapping[str, tuple[str, Change]] = {
    "stripe: a bad v1 before": ("stripe", signature(lambda s: s.replace(b"v1=", b"v1=00,v1="))),
    "stripe: items of other schemes": ("stripe", signature(lambda s: b"v0=x,x," + s + b",v2=y")),
    "stripe: the same header twice": (
        "stripe",
        lambda c, _: with_header(c, b"stripe-signature", *[header(c, b"stripe-signature")] * 2),
    ),
    "standard: v1 alone": ("standardwebhooks", signature(entry(b"v1"))),
    "standard: v1a alone": ("standardwebhooks", signature(entry(b"v1a"))),
    "standard: others around": ("standardwebhooks", signature(lambda s: b"v1,AAAA garbage v9,x  " + s)),
    "standard: svix names": (
        "standardwebhooks",
        lambda c, _: Callback(
            method="POST", headers=[(n.replace(b"webhook", b"svix"), v) for n, v in c.headers], body=c.body
        ),
    ),
    "standard: svix beside": (
        "standardwebhooks",
        lambda c, _: with_header(c, b"svix-id", b"msg_of_somebody_else"),
    ),
    "wechat: serial in lower case": (
        "wechatpay",
        lambda c, _: with_header(c, b"wechatpay-serial", header(c, b"wechatpay-serial").lower()),
    ),
    "wechat: serial with zeros": (
        "wechatpay",
        lambda c, _: with_header(c, b"wechatpay-serial", b"00" + header(c, b"wechatpay-serial")),
    ),
    "wechat: no signature type": ("wechatpay", lambda c, _: with_header(c, b"wechatpay-signature-type")),
    "alipay: any order": (
        "alipay",
        lambda c, _: with_body(c, b"&".join(reversed(c.body.split(b"&")))),
    ),
    "alipay: escaped further than needed": ("alipay", replaced(b"TRADE", b"T%52ADE")),
    "alipay: a parameter without value": ("alipay", replaced(b"&version=1.0", b"&version=1.0&body=&passback_params")),
    "alipay: sign_type dropped": ("alipay", replaced(b"&sign_type=RSA2", b"")),
    "alipay: sign_type that lies": ("alipay", replaced(b"&sign_type=RSA2", b"&sign_type=RSA")),
}


@pytest.mark.parametrize("case", STILL_VALID)
def test_still_valid(kits: Mapping[str, Kit], case: str) -> None:
    name, change = STILL_VALID[case]
    kit = kits[name]
    assert kit.fact(change(kit.sent(), kit)) == kit.fact(kit.sent())


@pytest.mark.parametrize(
    ("form", "extra"),
    [
        ({b"notify_id": b"1"}, {}),
        ({b"notify_id": b"1"}, {b"sign_type": b"RSA2"}),
        ({b"notify_id": b"1", b"sign_type": b"RSA2"}, {}),
        ({b"notify_id": b"1", b"body": b""}, {}),
        ({b"notify_id": b"1"}, {b"body": b""}),
        ({b"notify_id": b"1", b"body": b"", b"sign_type": b"RSA2"}, {}),
        ({b"notify_id": b"1", b"body": b" a & b=c+d%20 "}, {}),
        ({b"notify_id": b"1", b"charset": b"gbk", b"subject": "两个".encode("gbk")}, {}),
    ],
)
def test_alipay_signs_in_several_ways(
    kits: Mapping[str, Kit], form: dict[bytes, bytes], extra: dict[bytes, bytes]
) -> None:
    callback = alipay_form(private_key(kits["alipay"].settings), form, extra)
    assert kits["alipay"].fact(callback).external_id == "1"


def test_wechat_keys_by_id_and_by_serial(kits: Mapping[str, Kit]) -> None:
    """During a migration a certificate and a public key live side by side; each verifies under its own name."""
    old, new = kits["wechatpay"].settings, MADE_UP["wechatpay"]()
    settings: dict[str, Any] = {
        "provider": "wechatpay",
        "api_v3_key": [new["api_v3_key"], old["api_v3_key"]],
        "certificates": old["certificates"],
        "public_keys": {"pub_key_id_1": first(new["certificates"])},
    }
    provider = provider_with(settings)
    old_sent = kits["wechatpay"].sent()
    assert provider.verify(old_sent, NOW).secret == 0
    key = private_key(new)
    message = b"%d\nn\n%b\n" % (NOW, old_sent.body)
    sent = with_header(old_sent, b"wechatpay-serial", b"PUB_KEY_ID_1")
    sent = with_header(sent, b"wechatpay-nonce", b"n")
    sent = with_header(sent, b"wechatpay-signature", b64encode(key.sign(message, PKCS1v15(), SHA256())))
    assert provider.verify(sent, NOW).secret == 1
    assert refusal(kits["wechatpay"], sent) == "key_unknown"
