"""Forgeries of every kind, as tables: what to send, and the reasons for which it may be refused."""

import hashlib
import hmac
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import quote, unquote_to_bytes

from tests.ingress.accounts import NAMES, SIGNATURE, Account, Sent, first

Accounts = Mapping[str, Account]
Forge = Callable[[Account, Accounts], Sent]
"""Makes the callback to send, from the account that it goes to and another account of each provider."""


def signature(change: Callable[[bytes], bytes], version: bytes = b"v1,") -> Forge:
    """Change the signature, wherever it stands; of a list the one entry of that version is left."""

    def entry(value: bytes) -> bytes:
        return next(part for part in value.split(b" ") if part.startswith(version))

    def forge(account: Account, _: Accounts) -> Sent:
        if account.name == "standardwebhooks":
            return changed_signature(account.sent(), account.name, lambda value: change(entry(value)))
        return changed_signature(account.sent(), account.name, change)

    return forge


def changed_signature(sent: Sent, name: str, change: Callable[[bytes], bytes]) -> Sent:
    """The callback with its signature changed."""
    if name != "alipay":
        return sent.with_header(SIGNATURE[name], change(sent.header(SIGNATURE[name])))
    parts = sent.body.split(b"&")
    made = [
        b"sign=" + quote(change(unquote_to_bytes(p[5:])), safe="").encode() if p[:5] == b"sign=" else p for p in parts
    ]
    return sent.with_body(b"&".join(made))


def without_signature(account: Account, _: Accounts) -> Sent:
    sent = account.sent()
    if account.name != "alipay":
        return sent.with_header(SIGNATURE[account.name])
    return sent.with_body(b"&".join(part for part in sent.body.split(b"&") if not part.startswith(b"sign=")))


def body(change: Callable[[bytes], bytes]) -> Forge:
    """Change the body under its signature."""
    return lambda account, _: (sent := account.sent()).with_body(change(sent.body))


def flipped(whole: bytes) -> bytes:
    """One bit of it, in the middle of a digit or letter."""
    place = next(i for i in range(len(whole) // 3, len(whole)) if chr(whole[i]).isalnum())
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def again(whole: bytes) -> bytes:
    """The same document written by another hand: JSON with other blanks, a form with other escapes."""
    if whole.startswith(b"{"):
        return json.dumps(json.loads(whole), indent=5).encode()
    return whole.replace(b"42.00", b"42.0")


def timestamped(value: bytes) -> Forge:
    """Put another spelling where the time stands, and sign that."""

    def forge(account: Account, _: Accounts) -> Sent:
        sent = account.sent()
        if account.name == "stripe":
            secret = first(account.settings["secrets"]).encode()
            digest = hmac.new(secret, value + b"." + sent.body, hashlib.sha256).hexdigest().encode()
            return sent.with_header(b"stripe-signature", b"t=" + value + b",v1=" + digest)
        if account.name == "standardwebhooks":
            secret = b64decode(first(account.settings["secrets"]).removeprefix("whsec_"))
            signed = b".".join([sent.header(b"webhook-id"), value, sent.body])
            entry = b"v1," + b64encode(hmac.new(secret, signed, hashlib.sha256).digest())
            return sent.with_header(b"webhook-timestamp", value).with_header(b"webhook-signature", entry)
        return sent.with_header(b"wechatpay-timestamp", value)

    return forge


def at(seconds: float) -> Forge:
    """Signed by the right key, so many seconds from now."""
    return lambda account, _: account.signed(account.sample(), time.time() + seconds)


def by_another_account(account: Account, strangers: Accounts) -> Sent:
    return replace(strangers[account.name].sent(), path=account.path)


def by_another_provider(account: Account, strangers: Accounts) -> Sent:
    other = NAMES[(NAMES.index(account.name) + 1) % len(NAMES)]
    return replace(strangers[other].sent(), path=account.path)


def conflicting(account: Account, _: Accounts) -> Sent:
    if account.name == "alipay":
        sent = account.sent()
        return sent.with_body(sent.body + b"&sign=AAAA")
    name = SIGNATURE[account.name]
    sent = account.sent()
    return sent.with_header(name, sent.header(name), b"v1=0")


EVERYBODY: Mapping[str, tuple[Forge, set[str]]] = {
    "no signature": (without_signature, {"signature_missing"}),
    "empty": (signature(lambda _: b""), {"signature_missing"}),
    "v1,": (signature(lambda _: b"v1,"), {"timestamp_missing", "signature_malformed", "signature_mismatch"}),
    "truncated": (signature(lambda s: s[:-9]), {"signature_malformed", "signature_mismatch"}),
    "overlong": (
        signature(lambda s: s + b"A" * 9_000),
        {"header_malformed", "signature_mismatch", "signature_malformed"},
    ),
    "20,000 signatures": (
        signature(lambda s: b" ".join([s] * (20_000 if len(s) < 200 else 2_500))),
        {"header_malformed", "signature_malformed"},
    ),
    "no comma": (
        signature(lambda s: s.replace(b",", b"") if b"," in s else b"x" + s),
        {"signature_missing", "signature_malformed", "signature_mismatch"},
    ),
    "two commas": (
        signature(lambda s: s.replace(b",", b",,") if b"," in s else s + b",,"),
        {"signature_mismatch", "signature_malformed"},
    ),
    "invalid base64": (
        signature(lambda _: b"v1,!!!!"),
        {"timestamp_missing", "signature_mismatch", "signature_malformed"},
    ),
    "junk inside base64": (
        signature(lambda s: s[:40] + b"*" + s[40:]),
        {"signature_mismatch", "signature_malformed"},
    ),
    "not ASCII": (signature(lambda s: s + "é".encode()), {"header_malformed", "signature_malformed"}),
    "Latin-1": (signature(lambda s: b"\xff" + s), {"header_malformed", "signature_malformed"}),
    "an old scheme alone": (
        signature(lambda s: s.replace(b"v1", b"v0")),
        {"signature_missing", "signature_malformed"},
    ),
    "conflicting signatures": (conflicting, {"header_conflict", "form_duplicate_name"}),
    "wrong secret": (by_another_account, {"signature_mismatch", "key_unknown"}),
    "another provider's": (
        by_another_provider,
        {"signature_missing", "id_missing", "form_malformed"},
    ),
    "one bit of the body": (body(flipped), {"signature_mismatch", "form_malformed", "form_duplicate_name"}),
    "serialised again": (body(again), {"signature_mismatch"}),
    "a trailing newline": (body(lambda b: b + b"\n"), {"signature_mismatch", "form_malformed"}),
    "not UTF-8": (body(lambda b: b + b"\xff\xfe"), {"signature_mismatch", "form_malformed"}),
    "empty body": (body(lambda _: b""), {"signature_mismatch", "signature_missing"}),
    "NUL in the body": (body(lambda b: b + b"\0"), {"signature_mismatch", "form_malformed"}),
}
NO_FORGERY = {
    ("alipay", "an old scheme alone"),  # they know one scheme
    ("wechatpay", "an old scheme alone"),
    ("stripe", "two commas"),  # an empty item in a list of items
}
TIMES: Mapping[str, tuple[Forge, set[str]]] = {
    "expired": (at(-301), {"timestamp_expired"}),
    "future": (at(+310), {"timestamp_future"}),
    **{
        value.decode(): (timestamped(value), {"timestamp_malformed"})
        for value in (
            b"NaN",
            b"1e400",
            b"1_760_000_000",
            b"+1760000000",
            b"0x68E77800",
            b"9" * 400,
        )
    },
    # Named apart: a name with the time in it differs between the processes that collect the tests.
    "a fraction": (timestamped(b"%d.9" % time.time()), {"timestamp_malformed"}),
    "space inside": (timestamped(b"17600 00000"), {"timestamp_malformed"}),
    "Arabic digits": (timestamped("١٧٦٠٠٠٠٠٠٠".encode()), {"header_malformed", "timestamp_malformed"}),
    "none": (timestamped(b""), {"timestamp_missing", "timestamp_malformed"}),
}


def own(sent: Callable[[Account], Sent]) -> Forge:
    """A forgery that needs nobody else."""
    return lambda account, _: sent(account)


def keyed_with_the_public_key(account: Account) -> Sent:
    sent = account.sent()
    key = b64decode(first(account.settings["public_keys"]).removeprefix("whpk_"))
    signed = b".".join([sent.header(b"webhook-id"), sent.header(b"webhook-timestamp"), sent.body])
    return sent.with_header(b"webhook-signature", b"v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()))


def hashed_otherwise(account: Account) -> Sent:
    sent = account.sent()
    now = b"%d" % time.time()
    digest = hmac.new(first(account.settings["secrets"]).encode(), now + b"." + sent.body, hashlib.sha1).hexdigest()
    return sent.with_header(b"stripe-signature", b"t=" + now + b",v1=" + digest.encode())


def twice(account: Account) -> Sent:
    sent = account.sent()
    return sent.with_header(b"stripe-signature", b"t=1," + sent.header(b"stripe-signature"))


def replaced(header: bytes, *values: bytes) -> Forge:
    """Other values in a header that is signed."""
    return own(lambda account: account.sent().with_header(header, *values))


OWN: Mapping[str, tuple[str, Forge, str]] = {
    **{
        f"standard: v1a {case}": ("standardwebhooks", signature(change, b"v1a,"), reason)
        for case, change, reason in (
            ("truncated", lambda s: s[:-9], "signature_mismatch"),
            ("with junk", lambda s: s[:20] + b"*" + s[20:], "signature_mismatch"),
            ("without comma", lambda s: s.replace(b",", b""), "signature_malformed"),
            ("with two commas", lambda s: s.replace(b",", b",,"), "signature_mismatch"),
            ("as v1", lambda s: s.replace(b"v1a", b"v1"), "signature_mismatch"),
            ("20,000 times", lambda s: b" ".join([s] * 20_000), "header_malformed"),
        )
    },
    "stripe: two t": ("stripe", own(twice), "timestamp_malformed"),
    "stripe: wrong hash": ("stripe", own(hashed_otherwise), "signature_mismatch"),
    "standard: id swapped": ("standardwebhooks", replaced(b"webhook-id", b"msg_other"), "signature_mismatch"),
    "standard: id missing": ("standardwebhooks", replaced(b"webhook-id"), "id_missing"),
    "standard: two ids": ("standardwebhooks", replaced(b"webhook-id", b"a", b"b"), "header_conflict"),
    "standard: public key": ("standardwebhooks", own(keyed_with_the_public_key), "signature_mismatch"),
    "standard: no time": ("standardwebhooks", replaced(b"webhook-timestamp"), "timestamp_missing"),
    "wechat: no time": ("wechatpay", replaced(b"wechatpay-timestamp"), "timestamp_missing"),
    "wechat: unknown serial": ("wechatpay", replaced(b"wechatpay-serial", b"DEADBEEF"), "key_unknown"),
    "wechat: no serial": ("wechatpay", replaced(b"wechatpay-serial"), "serial_missing"),
    "wechat: another nonce": ("wechatpay", replaced(b"wechatpay-nonce", b"other"), "signature_mismatch"),
    "wechat: probe": (
        "wechatpay",
        replaced(b"wechatpay-signature", b"WECHATPAY/SIGNTEST/" + b"A" * 300),
        "signature_malformed",
    ),
    "alipay: amount": (
        "alipay",
        body(lambda b: b.replace(b"total_amount=42.00", b"total_amount=42.01")),
        "signature_mismatch",
    ),
    "alipay: an unsigned parameter": ("alipay", body(lambda b: b + b"&trade_status2=x"), "signature_mismatch"),
    "alipay: a parameter twice": ("alipay", body(lambda b: b + b"&version=1.0"), "form_duplicate_name"),
    "alipay: JSON": ("alipay", body(lambda _: b'{"sign":"AAAA"}'), "signature_missing"),
    "alipay: 20,000 parameters": ("alipay", body(lambda b: b + b"&a=1" * 20_000), "form_malformed"),
}
