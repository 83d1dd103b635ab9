"""Forgeries that are special to one scheme, as a table. Those of every scheme are generated: `tests/providers`."""

import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping

from tests.ingress.accounts import Account, Sent, first

Accounts = Mapping[str, Account]
Forge = Callable[[Account, Accounts], Sent]
"""Makes the callback to send, from the account that it goes to and another account of each provider."""


def body(change: Callable[[bytes], bytes]) -> Forge:
    """Change the body under its signature."""
    return lambda account, _: (sent := account.sent()).with_body(change(sent.body))


def own(sent: Callable[[Account], Sent]) -> Forge:
    """A forgery that needs nobody else."""
    return lambda account, _: sent(account)


def keyed_with_the_public_key(account: Account) -> Sent:
    sent = account.sent()
    key = b64decode(first(account.settings["public_keys"]).removeprefix("whpk_"))
    signed = b".".join([sent.header(b"webhook-id"), sent.header(b"webhook-timestamp"), sent.body])
    return sent.with_header(b"webhook-signature", b"v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()))


def called_v1(account: Account) -> Sent:
    """The ed25519 signature under the name of the other kind."""
    sent = account.sent()
    entries = sent.header(b"webhook-signature").split(b" ")
    return sent.with_header(b"webhook-signature", *(b"v1" + e[3:] for e in entries if e.startswith(b"v1a")))


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
    "standard: v1a as v1": ("standardwebhooks", own(called_v1), "signature_mismatch"),
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
