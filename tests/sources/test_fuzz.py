"""Whatever arrives, there is one error and no other, and whatever is signed is read without any."""

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources.documents import LONGEST_TEXT
from tests.sources.conftest import JSON_NAMES, NAMES, NOW, Kit, alipay_form, private_key, with_body, with_header

MODEST = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HEADERS = [
    *(b"stripe-signature", b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"svix-id", b"svix-signature"),
    *(b"wechatpay-serial", b"wechatpay-timestamp", b"wechatpay-nonce", b"wechatpay-signature", b"content-type"),
]
PIECES = st.sampled_from(
    [b"t=", b"v1=", b"v1,", b"v1a,", b",", b" ", b"=", b"%d" % NOW, b"1e400", b"\xd9\xa1", b"AAAA", b"==", b"\0", b"DE"]
)
VALUES = st.lists(PIECES, max_size=8).map(b"".join) | st.binary(max_size=40)
FORMS = st.lists(
    st.sampled_from([b"sign=", b"sign_type=", b"&", b"=", b"a", b"%", b"%00", b"+", b"AAAA", b"\xff"])
).map(b"".join)
TOKENS = rb"""{ } [ ] : , "id" "data" "object" "type" "created" "resource" "evt_1" 1 1e9 null true""".split()
ESCAPES = [rb'"\u0000"', rb'"\ud800"', b"\xff", b" ", b'"2022-02-15T00:27Z"']
JSONISH = st.lists(st.sampled_from([*TOKENS, *ESCAPES])).map(b"".join)


@pytest.mark.parametrize("name", NAMES)
@MODEST
@given(
    method=st.sampled_from(["POST", "GET"]),
    headers=st.lists(st.tuples(st.sampled_from(HEADERS), VALUES), max_size=8),
    body=st.binary(max_size=60) | FORMS | JSONISH,
)
def test_garbage(
    kits: Mapping[str, Kit], name: str, method: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    callback = Callback(method=method, headers=headers, body=body, query=body)
    with pytest.raises(VerificationError):
        kits[name].provider.verify(callback, NOW)
    for fact in kits[name].provider.read(callback):
        assert fact.odd or fact.external_id


@pytest.mark.parametrize("name", NAMES)
@MODEST
@given(data=st.data())
def test_one_header_of_a_good_callback_changed(kits: Mapping[str, Kit], name: str, data: st.DataObject) -> None:
    kit = kits[name]
    callback = kit.sent()
    header = data.draw(st.sampled_from([pair[0] for pair in callback.headers]))
    changed = with_header(callback, header, *data.draw(st.lists(VALUES, max_size=2)))
    try:
        facts = kit.provider.verify(changed, NOW).facts
    except VerificationError:
        return
    assert facts == kit.provider.verify(callback, NOW).facts


@pytest.mark.parametrize("name", NAMES)
@MODEST
@given(data=st.data())
def test_one_byte_of_a_good_body_changed(kits: Mapping[str, Kit], name: str, data: st.DataObject) -> None:
    kit = kits[name]
    callback = kit.sent()
    place = data.draw(st.integers(0, len(callback.body) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = with_body(callback, callback.body[:place] + bytes([byte]) + callback.body[place + 1 :])
    try:
        verified = kit.provider.verify(changed, NOW)
    except VerificationError:
        return
    # A form has several spellings of one content, and `sign_type` at its end is not signed.
    assert verified.facts == kit.provider.verify(callback, NOW).facts
    assert name == "alipay" or changed.body == callback.body


@pytest.mark.parametrize("name", JSON_NAMES)
@MODEST
@given(body=JSONISH | st.binary(max_size=40))
def test_anything_signed(kits: Mapping[str, Kit], name: str, body: bytes) -> None:
    check(kits[name], kits[name].seal(body))


@MODEST
@given(
    form=st.dictionaries(
        st.sampled_from([b"notify_id", b"charset", b"trade_status", b"trade_no", b"biz_content", b"gmt_payment"])
        | st.binary(min_size=1, max_size=3),
        st.binary(min_size=1, max_size=40) | st.sampled_from([b"gbk", b"utf-8", b"2019-05-15 10:51:30"]),
    ).filter(lambda form: not {b"sign", b"sign_type"} & set(form))
)
def test_any_signed_form(kits: Mapping[str, Kit], form: dict[bytes, bytes]) -> None:
    check(kits["alipay"], alipay_form(private_key(kits["alipay"].settings), form))


def check(kit: Kit, callback: Callback) -> None:
    """What is read can be stored, and what can be handled has content."""
    fact = kit.fact(callback)
    for text in (fact.external_id, fact.type, fact.entity_id):
        assert text is None or (text and "\0" not in text and len(text.encode()) <= LONGEST_TEXT)
    assert fact.key_time in range(2**32)
    assert fact.occurred_at is None or fact.occurred_at.tzinfo is not None
    if fact.odd is None:
        assert fact.external_id is not None
        assert kit.provider.content(callback.body) is not None
    if fact.occurred_at is not None:
        assert fact.occurred_at.year >= 1970
