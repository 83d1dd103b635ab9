"""What providers do send verifies, in every spelling that their schemes allow, and says by which key."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from receiver.events import Callback
from receiver.sources import made_up
from tests.sources.changes import (
    Change,
    entry,
    refusal,
    replaced,
    signature,
)
from tests.sources.conftest import (
    NOW,
    Kit,
    alipay_form,
    first,
    header,
    private_key,
    provider_with,
    with_body,
    with_header,
)


def test_which_key_matched(kits: Mapping[str, Kit]) -> None:
    """Secrets are counted before public keys."""
    kit = kits["standardwebhooks"]
    for version, index in ((b"v1", 0), (b"v1a", 1)):
        assert kit.provider.verify(signature(entry(version))(kit.sent(), kit), NOW).secret == index


def test_a_secret_without_its_padding(kits: Mapping[str, Kit]) -> None:
    secret = first(kits["standardwebhooks"].settings["secrets"])
    assert secret.endswith("=")
    bare = provider_with({"provider": "standardwebhooks", "secrets": secret.rstrip("=")})
    assert bare.verify(kits["standardwebhooks"].sent(), NOW).secret == 0


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
    old, new = kits["wechatpay"].settings, made_up("wechatpay")
    settings: dict[str, Any] = {
        "provider": "wechatpay",
        "api_v3_key": [new["api_v3_key"], old["api_v3_key"]],
        "certificates": old["certificates"],
        "public_keys": {"pub_key_id_1": first(new["certificates"])},
    }
    provider = provider_with(settings)
    old_sent = kits["wechatpay"].sent()
    verified = provider.verify(old_sent, NOW)
    assert (verified.secret, verified.facts) == (0, kits["wechatpay"].provider.verify(old_sent, NOW).facts)
    key = private_key(new)
    message = b"%d\nn\n%b\n" % (NOW, old_sent.body)
    sent = with_header(old_sent, b"wechatpay-serial", b"PUB_KEY_ID_1")
    sent = with_header(sent, b"wechatpay-nonce", b"n")
    sent = with_header(sent, b"wechatpay-signature", b64encode(key.sign(message, PKCS1v15(), SHA256())))
    assert provider.verify(sent, NOW).secret == 1
    assert refusal(kits["wechatpay"], sent) == "key_unknown"
