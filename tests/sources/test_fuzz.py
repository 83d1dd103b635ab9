"""Whatever is signed is read without any error; signed by hand here, not by the code under test as in `tests/fuzz`."""

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.events import Callback
from receiver.sources.documents import LONGEST_TEXT
from tests.sources.conftest import JSON_NAMES, Kit, alipay_form, private_key

MODEST = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TOKENS = rb"""{ } [ ] : , "id" "data" "object" "type" "created" "resource" "evt_1" 1 1e9 null true""".split()
ESCAPES = [rb'"\u0000"', rb'"\ud800"', b"\xff", b" ", b'"2022-02-15T00:27Z"']
JSONISH = st.lists(st.sampled_from([*TOKENS, *ESCAPES])).map(b"".join)


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
