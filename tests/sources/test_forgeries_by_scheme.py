"""What can be wrong with one provider's signatures only."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from urllib.parse import quote, unquote_to_bytes

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1

from receiver.events import Callback
from receiver.sources import made_up
from tests.sources.changes import (
    Change,
    body,
    entry,
    refusal,
    replaced,
    sign_value,
    signature,
    stray,
)
from tests.sources.conftest import (
    NOW,
    Kit,
    alipay_form,
    ed25519_key,
    first,
    header,
    private_key,
    with_body,
    with_header,
)


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
    "stray bits": (signature(lambda s: stray(entry(b"v1")(s))), "signature_mismatch"),
    "stray bits in v1a": (signature(lambda s: stray(entry(b"v1a")(s))), "signature_mismatch"),
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
    other = ed25519_key(made_up("standardwebhooks"))
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
    "stray bits": (signature(stray), "signature_malformed"),
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
    "stray bits in the sign": (
        sign_value(lambda s: b"sign=" + quote(stray(unquote_to_bytes(s[5:])), safe="").encode()),
        "signature_malformed",
    ),
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
