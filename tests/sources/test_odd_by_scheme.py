"""Signed but odd, in ways that only WeChat Pay's resources or Alipay's forms can be."""

import json
from collections.abc import Mapping

import pytest

from tests.sources.conftest import Kit, alipay_form, private_key, wechatpay_body

LONG = "e" * 9_000

RESOURCES: Mapping[str, tuple[object, str]] = {
    "null": (None, "resource_missing"),
    "text": ("x", "resource_malformed"),
    "array": ([], "resource_malformed"),
    "empty": ({}, "resource_malformed"),
    "another algorithm": ({"algorithm": "AEAD_SM4_GCM"}, "resource_malformed"),
    "no nonce": ({"nonce": None}, "resource_malformed"),
    "nonce of 7": ({"nonce": "1234567"}, "resource_malformed"),
    "nonce of 129": ({"nonce": "1" * 129}, "resource_malformed"),
    "no ciphertext": ({"ciphertext": 5}, "resource_malformed"),
    "ciphertext no base64": ({"ciphertext": "!!!!"}, "resource_malformed"),
    "ciphertext not ASCII": ({"ciphertext": "é"}, "resource_malformed"),
    "associated data a number": ({"associated_data": 5}, "resource_malformed"),
    "ciphertext empty": ({"ciphertext": ""}, "resource_malformed"),
    "ciphertext of 15": ({"ciphertext": "A" * 20}, "resource_malformed"),
    "ciphertext of 18": ({"ciphertext": "A" * 24}, "resource_undecryptable"),
    "another nonce": ({"nonce": "twelve-other"}, "resource_undecryptable"),
    "other associated data": ({"associated_data": "refund"}, "resource_undecryptable"),
    "associated data dropped": ({"associated_data": None}, "resource_undecryptable"),
}


@pytest.mark.parametrize("case", RESOURCES)
def test_resources(kits: Mapping[str, Kit], case: str) -> None:
    change, reason = RESOURCES[case]
    kit = kits["wechatpay"]
    whole = json.loads(wechatpay_body(kit, b"{}"))
    whole["resource"] = {**whole["resource"], **change} if isinstance(change, dict) and change else change
    callback = kit.seal(json.dumps(whole).encode())
    fact = kit.fact(callback)
    assert (fact.external_id, fact.type, fact.odd) == ("EV-1", "TRANSACTION.SUCCESS", reason)
    assert fact.retry is (reason == "resource_undecryptable"), "a wrong key of ours may be right the next time"
    with pytest.raises(ValueError, match=reason):
        kit.provider.content(callback.body)


def test_a_wrong_key_of_ours_comes_before_what_else_is_odd(kits: Mapping[str, Kit]) -> None:
    kit = kits["wechatpay"]
    whole = json.loads(wechatpay_body(kit, b"{}", id=5, event_type=5))
    whole["resource"]["nonce"] = "twelve-other"
    fact = kit.fact(kit.seal(json.dumps(whole).encode()))
    assert (fact.odd, fact.retry) == ("resource_undecryptable", True)


FORMS: Mapping[str, tuple[dict[bytes, bytes], str]] = {
    "no notify_id": ({b"trade_no": b"1"}, "id_missing"),
    "notify_id too long": ({b"notify_id": LONG.encode()}, "id_invalid"),
    "NUL in the notify_id": ({b"notify_id": b"1\0"}, "id_invalid"),
    "NUL elsewhere": ({b"notify_id": b"1", b"subject": b"a\0b"}, "text_nul"),
    "NUL in a name": ({b"notify_id": b"1", b"a\0b": b"x"}, "text_nul"),
    "NUL in the type": ({b"notify_id": b"1", b"trade_status": b"T\0"}, "type_invalid"),
    "type too long": ({b"notify_id": b"1", b"trade_status": LONG.encode()}, "type_invalid"),
    "not UTF-8": ({b"notify_id": b"1", b"subject": b"\xff\xfe"}, "text_invalid"),
    "a surrogate": ({b"notify_id": b"1", b"subject": b"\xed\xa0\x80"}, "text_invalid"),
    "GBK that says UTF-8": ({b"notify_id": b"1", b"subject": "两个".encode("gbk")}, "text_invalid"),
    "UTF-8 that is no GBK": ({b"notify_id": b"1", b"charset": b"GBK", b"subject": b"\xe4\xb8\xff"}, "text_invalid"),
    "unknown charset": ({b"notify_id": b"1", b"charset": b"klingon"}, "charset_unknown"),
    "charset not ASCII": ({b"notify_id": b"1", b"charset": b"\xff"}, "charset_unknown"),
    "a codec that is none of text": ({b"notify_id": b"1", b"charset": b"hex"}, "charset_unknown"),
}


@pytest.mark.parametrize("case", FORMS)
def test_forms(kits: Mapping[str, Kit], case: str) -> None:
    form, reason = FORMS[case]
    assert kits["alipay"].fact(alipay_form(private_key(kits["alipay"].settings), form)).odd == reason


NOTICES: Mapping[str, tuple[dict[str, str], str | None, str | None]] = {
    "trade": ({"trade_status": "TRADE_SUCCESS", "trade_no": "t", "notify_type": "n"}, "TRADE_SUCCESS", "t"),
    "authorisation": (
        {"notify_type": "fund_auth_freeze", "auth_no": "a", "out_order_no": "o"},
        "fund_auth_freeze",
        "a",
    ),
    "agreement": ({"notify_type": "dut_user_sign", "agreement_no": "g"}, "dut_user_sign", "g"),
    "message": (
        {"msg_method": "alipay.fund.trans.order.changed", "biz_content": '{"order_id":"f","out_biz_no":"m"}'},
        "alipay.fund.trans.order.changed",
        "f",
    ),
    "message with odd content": ({"msg_method": "x", "biz_content": "[1"}, "x", None),
    "message with a list": ({"msg_method": "x", "biz_content": "[1]"}, "x", None),
    "nothing but an id": ({}, None, None),
    "an empty status": ({"trade_status": "", "notify_type": "n", "trade_no": "", "out_trade_no": "o"}, "n", "o"),
}


@pytest.mark.parametrize("case", NOTICES)
def test_what_an_alipay_notice_is_about(kits: Mapping[str, Kit], case: str) -> None:
    strings, type_, entity = NOTICES[case]
    form = {name.encode(): value.encode() for name, value in {"notify_id": "1", **strings}.items()}
    fact = kits["alipay"].fact(alipay_form(private_key(kits["alipay"].settings), form))
    assert (fact.type, fact.entity_id, fact.odd) == (type_, entity, None)


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "GBK", "gb2312", "GB18030"])
def test_alipay_charsets(kits: Mapping[str, Kit], charset: str) -> None:
    kit = kits["alipay"]
    callback = kit.sent(charset=charset, subject="两个蓝色的")
    assert kit.fact(callback).odd is None
    content = kit.provider.content(callback.body)
    assert isinstance(content, dict)
    assert content["subject"] == "两个蓝色的"
    assert not {"sign", "sign_type"} & set(content)
