"""Official SDKs accept what we sign, and we accept what they sign."""

import importlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import pytest
import stripe
import time_machine
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.events import Callback
from receiver.sources import made_up
from tests.sources.conftest import NOW, Kit, first, private_key, provider_with

# These two SDKs have no types.
SignatureUtils = importlib.import_module("alipay.aop.api.util.SignatureUtils")
wechatpayv3 = importlib.import_module("wechatpayv3")

MODEST = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
JSON = st.dictionaries(
    TEXT,
    st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda v: st.lists(v) | st.dictionaries(TEXT, v)),
)


@MODEST
@given(extra=JSON)
def test_stripe_both_ways(kits: Mapping[str, Kit], extra: dict[str, object]) -> None:
    kit = kits["stripe"]
    secret = first(kit.settings["secrets"])
    payload = {**extra, **kit.payload()}
    sent = kit.provider.sign(payload, NOW)
    with time_machine.travel(NOW, tick=False):
        event = stripe.Webhook.construct_event(sent.body, dict(sent.headers)["Stripe-Signature"], secret)
    assert event.id == payload["id"]
    body = json.dumps(payload)
    signature = stripe.WebhookSignature.generate_signature_header(body, secret, NOW)
    callback = Callback(method="POST", headers=[(b"stripe-signature", signature.encode())], body=body.encode())
    assert kit.fact(callback).external_id == payload["id"]


@MODEST
@given(extra=st.dictionaries(TEXT.filter(bool), TEXT.filter(bool)))
def test_alipay_both_ways(kits: Mapping[str, Kit], extra: dict[str, str]) -> None:
    kit = kits["alipay"]
    key = private_key(kit.settings)
    reserved = {"sign", "sign_type", "charset"}
    strings = {name: value for name, value in extra.items() if name not in reserved}
    sent = kit.provider.sign({**kit.payload(), **strings}, NOW)
    form = dict(parse_qsl(sent.body.decode(), keep_blank_values=True))
    signature = form.pop("sign")
    form.pop("sign_type")
    content = SignatureUtils.get_sign_content(form)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    bare = "".join(public.splitlines()[1:-1])
    assert SignatureUtils.verify_with_rsa(bare, content.encode(), signature)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    bare = "\n".join(private.splitlines()[1:-1])
    assert SignatureUtils.sign_with_rsa2(bare, content, "utf-8") == signature, "PKCS #1 v1.5 has no randomness"


@pytest.fixture(scope="module")
def wechat_oracle(kits: Mapping[str, Kit]) -> Any:
    """The SDK with a platform public key: it then asks no server for certificates."""
    key = private_key(kits["wechatpay"].settings)
    return wechatpayv3.WeChatPay(
        wechatpay_type=wechatpayv3.WeChatPayType.JSAPI,
        mchid="1900000000",
        private_key=str(kits["wechatpay"].settings["signing_key"]),
        cert_serial_no="1",
        appid="wx",
        apiv3_key=str(kits["wechatpay"].settings["api_v3_key"]),
        public_key=key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        public_key_id="PUB_KEY_ID_1",
    )


@MODEST
@given(extra=JSON)
def test_wechatpay_accepts_ours(kits: Mapping[str, Kit], wechat_oracle: Any, extra: dict[str, object]) -> None:
    kit = kits["wechatpay"]
    payload = kit.payload()
    payload["resource"] = {**extra, "out_trade_no": "o"}
    sent = kit.provider.sign(payload, NOW)
    headers = {**dict(sent.headers), "Wechatpay-Serial": "PUB_KEY_ID_1"}
    assert wechat_oracle.callback(headers, sent.body)["resource"] == payload["resource"]
    assert wechat_oracle.callback(headers, sent.body + b"\n") is None


def test_a_pkcs1_key_is_read_as_well() -> None:
    """The SDKs' tools write this older form of private keys."""
    settings = made_up("alipay")
    key = load_pem_private_key(str(settings["signing_key"]).encode(), None)
    older = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    assert provider_with({**settings, "signing_key": older}).sign({"notify_id": "1"}, NOW).body
