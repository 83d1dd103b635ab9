"""Another fact under the same id has another fingerprint, and what keys are made of; see also `test_every_resend`."""

import json
from collections.abc import Mapping

import pytest

from receiver.events import Callback, Fact
from tests.sources.conftest import NOW, Kit, as_callback

LATER = NOW + 90_000
CHANGES = Mapping[str, object]


def fact_of(kit: Kit, what: str, now: int, changes: Mapping[str, object]) -> Fact:
    return kit.fact(as_callback(kit.provider.sign({**kit.payload(what), **changes}, now)), now)


OTHER: Mapping[str, CHANGES] = {
    "stripe: data": {"data": {"object": {"id": "order1", "amount": 1}}},
    "stripe: type": {"type": "payment_intent.canceled"},
    "stripe: account": {"account": "acct_2"},
    "stripe: livemode": {"livemode": True},
    "standardwebhooks: data": {"data": {"id": "order1", "amount": 1}},
    "standardwebhooks: type": {"type": "payment.failed"},
    "alipay: amount": {"total_amount": "0.01"},
    "alipay: status": {"trade_status": "TRADE_FINISHED"},
    "alipay: more": {"refund_fee": "42.00"},
    "wechatpay: resource": {"resource": {"out_trade_no": "order1", "amount": {"total": 1}}},
    "wechatpay: type": {"event_type": "TRANSACTION.FAIL"},
}


@pytest.mark.parametrize("case", OTHER)
def test_another_fact_under_the_same_id(kits: Mapping[str, Kit], case: str) -> None:
    kit = kits[case.partition(":")[0]]
    once, other = fact_of(kit, "paid", NOW, {}), fact_of(kit, "paid", NOW, OTHER[case])
    assert once.external_id == other.external_id
    assert once.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"id":"a","created":1,"account":23}', b'{"id":"a","created":12,"account":3}'),
        (b'{"id":"a","data":{}}', b'{"id":"a","related_object":{}}'),
    ],
)
def test_stripe_members_are_told_apart(kits: Mapping[str, Kit], one: bytes, other: bytes) -> None:
    kit = kits["stripe"]
    assert kit.fact(kit.seal(one)).fingerprint != kit.fact(kit.seal(other)).fingerprint


def test_alipay_names_and_values_are_told_apart(kits: Mapping[str, Kit]) -> None:
    kit = kits["alipay"]
    assert kit.fact(kit.sent(zz="yx")).fingerprint != kit.fact(kit.sent(zzy="x")).fingerprint


def test_stripe_key_time_is_the_events_own(kits: Mapping[str, Kit]) -> None:
    kit = kits["stripe"]
    assert kit.fact(kit.sent(now=LATER), LATER).key_time == NOW
    thin = kit.fact(kit.sent("thin", now=LATER), LATER)
    assert (thin.key_time, thin.type) == (NOW, "v1.billing.meter.error_report_triggered")


NOTIFY_IDS: Mapping[str, int] = {
    "2019051500222105131062921023025563": 1557888691,  # 2019-05-15 10:51:31 in Beijing
    "2019081500222155624068450559358070": 1565855784,
    "20190515002221051310": 1557888691,
    "2019051500222105131": 1557888691,
    "201905150022210513": 0,
    "ac05099524730693a8b330c45cf72da943": 0,
    "2019131500222105131062921023025563": 0,
    "2019051500222245131062921023025563": 0,
    "1019051500222105131062921023025563": 0,
    "2019051500222105131".translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")): 0,
    "1": 0,
}


@pytest.mark.parametrize("notify_id", NOTIFY_IDS)
def test_alipay_key_time_comes_from_the_id_alone(kits: Mapping[str, Kit], notify_id: str) -> None:
    kit = kits["alipay"]
    for now in (NOW, LATER):
        fact = kit.fact(kit.sent(now=now, notify_id=notify_id, gmt_create="x", gmt_payment="y"))
        assert fact.key_time == NOTIFY_IDS[notify_id]
        assert fact.odd is None


@pytest.mark.parametrize("name", ["standardwebhooks", "wechatpay"])
def test_no_key_time_where_none_is_known_to_stay(kits: Mapping[str, Kit], name: str) -> None:
    assert kits[name].fact(kits[name].sent()).key_time == 0


def test_alipay_times_are_of_beijing(kits: Mapping[str, Kit]) -> None:
    kit = kits["alipay"]
    fact = kit.fact(kit.sent(gmt_payment="2019-05-15 10:51:30"))
    assert fact.occurred_at is not None
    assert fact.occurred_at.isoformat() == "2019-05-15T10:51:30+08:00"


def test_a_browsers_return_to_the_shop_has_no_id(kits: Mapping[str, Kit]) -> None:
    kit = kits["alipay"]
    sent = kit.provider.sign({"method": "alipay.trade.page.pay.return", "trade_no": "t"}, NOW)
    fact = kit.fact(Callback(method="GET", headers=[], body=b"", query=sent.body))
    assert (fact.type, fact.entity_id, fact.external_id) == ("alipay.trade.page.pay.return", "t", None)
    assert fact.odd == "id_missing"


def test_wechat_hands_over_the_decrypted_resource(kits: Mapping[str, Kit]) -> None:
    kit = kits["wechatpay"]
    callback = kit.sent(resource={"out_trade_no": "o", "transaction_id": "t"})
    assert b"out_trade_no" not in callback.body
    assert kit.provider.content(callback.body) == {"out_trade_no": "o", "transaction_id": "t"}
    assert kit.fact(callback).entity_id == "o"


def test_stripe_sends_every_member_it_was_given(kits: Mapping[str, Kit]) -> None:
    kit = kits["stripe"]
    callback = kit.sent(livemode=True)
    assert json.loads(callback.body) == {**kit.payload(), "livemode": True}
    assert kit.fact(callback).livemode is True
