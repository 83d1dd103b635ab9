"""What a callback states is stored as it was stated: unknown types, test mode, exact amounts, ids that look alike."""

import json
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from receiver.inbox import Outcome
from receiver.settings import made
from receiver.sources import PROVIDERS, build_sources, made_up
from tests.ingress.accounts import Account, Sent
from tests.ingress.conftest import Start
from tests.ingress.inboxes import arrival, submit
from tests.ingress.ledger import Ledger

BIG = 2**63


async def test_an_unknown_type_is_stored_and_owed_to_nobody(
    accounts: Mapping[str, Account], ledger: Ledger, start: Start
) -> None:
    stripe, standard = accounts["stripe"], accounts["standardwebhooks"]
    async with start() as served:
        for sent in (stripe.sent(type="never.heard.of"), standard.sent(type=None)):
            assert (await served.post(sent)).status in {200, 204}
    assert await ledger.counts() == {"dedup_key": 2, "event": 2}
    assert sorted(await ledger.query("SELECT source, type FROM receiver.event")) == [
        ("standardwebhooks", None),
        ("stripe", "never.heard.of"),
    ]


@pytest.mark.parametrize(("stated", "stored"), [(False, False), (True, True), (None, None), ("no", None)])
async def test_test_mode_is_marked(
    accounts: Mapping[str, Account], ledger: Ledger, start: Start, stated: object, stored: object
) -> None:
    async with start() as served:
        assert (await served.post(accounts["stripe"].sent(livemode=stated))).status == 200
    assert await ledger.query("SELECT livemode FROM receiver.event") == [(stored,)]


@pytest.mark.parametrize("name", ["stripe", "xendit", "midtrans"])
async def test_what_vouches_for_it_is_stored(ledger: Ledger, start: Start, name: str) -> None:
    """And the key that did: here the second of two."""
    settings = made_up(name)
    kind = PROVIDERS[name]
    rotated = {**settings, "secrets": [*_list(made_up(name)["secrets"]), *_list(settings["secrets"])]}
    old = build_sources(made(sources={name: settings}), Path())[name]
    payload = kind.sample("paid", external_id="evt_1", entity_id="order1", created=int(time.time()))
    signed = old.sign(payload, time.time())
    headers = tuple((name.lower().encode(), value.encode()) for name, value in signed.headers)
    sources = {name: rotated, "open": {"provider": name, "verification": "none"}}
    async with start(sources=made(sources=sources).sources) as served:
        for source in sources:
            assert (await served.post(Sent(f"/callbacks/{source}", headers, signed.body))).status == 200
    assert sorted(await ledger.query("SELECT source, trust, secret FROM receiver.event")) == sorted(
        [(name, kind.trust, "secrets[1]"), ("open", "none", None)]
    )


async def test_each_delivery_of_a_bare_id_is_an_event(ledger: Ledger, start: Start) -> None:
    """Mollie's classic callbacks say the same when a payment is paid and when it is refunded."""
    source = {"provider": "mollie", "verification": "none"}
    async with start(sources=made(sources={"shop": source}).sources) as served:
        for _ in range(2):
            assert (await served.post(Sent("/callbacks/shop", (), b"id=tr_1"))).status == 200
    rows = await ledger.query("SELECT id, external_id, entity_id, type, trust FROM receiver.event")
    assert len(rows) == 2
    assert [tuple(row)[1:] for row in rows] == [(f"tr_1@{row[0]}", "tr_1", "classic", "none") for row in rows]


def _list(values: object) -> list[object]:
    assert isinstance(values, list)
    return values


AMOUNTS: Mapping[str, tuple[bytes, object]] = {
    "2^63": (b"%d" % BIG, BIG),
    "23 digits": (b"12345678901234567890123", 12345678901234567890123),
    "a fraction": (b"0.1", Decimal("0.1")),
    "trailing zero": (b"42.10", Decimal("42.10")),
    "negative": (b"-42", -42),
}


@pytest.mark.parametrize("case", AMOUNTS)
async def test_amounts_are_exact(accounts: Mapping[str, Account], ledger: Ledger, start: Start, case: str) -> None:
    written, amount = AMOUNTS[case]
    body = b'{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"b","amount":%b,"currency":"XXX"}}}'
    sent = accounts["stripe"].sealed(body % written)
    async with start() as served:
        assert (await served.post(sent)).status == 200
    ((stored,),) = await ledger.query("SELECT body FROM receiver.event")
    assert stored == sent.body
    data = accounts["stripe"].source.content(sent.body)
    assert isinstance(data, dict)
    found = data["data"]["object"]["amount"]
    assert (type(found), str(found)) == (type(amount), str(amount))
    assert (await ledger.counts())["dispatch"] == 2, "owed as any other"


async def test_nfc_and_nfd_are_two_ids(accounts: Mapping[str, Account], ledger: Ledger, start: Start) -> None:
    stripe = accounts["stripe"]
    ids = ["evt_\u00fc", "evt_u\u0308"]
    async with start() as served:
        for _ in range(2):
            for name in ids:
                assert (await served.post(stripe.sent(id=name, created=0))).status == 200
    assert await ledger.stored() == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("name", ["'; DROP TABLE receiver.event; --", "${jndi:ldap://x}", "<b>", "a\r\nb", "e" * 512])
async def test_ids_that_want_to_be_more(
    accounts: Mapping[str, Account], ledger: Ledger, start: Start, name: str
) -> None:
    async with start() as served:
        assert (await served.post(accounts["stripe"].sent(id=name))).status == 200
    assert await ledger.stored() == {name: 1}


async def test_one_id_at_two_sources_is_two_events(
    ledger: Ledger, start: Start, accounts: Mapping[str, Account]
) -> None:
    one = accounts["stripe"].sent(id="same")
    other = accounts["wechatpay"].sent(id="same")
    async with start() as served:
        assert {(await served.post(sent)).status for sent in (one, other)} == {200, 204}
    assert await ledger.stored() == {"same": 2}


async def test_a_resend_that_differs_where_it_may(
    accounts: Mapping[str, Account], ledger: Ledger, start: Start
) -> None:
    stripe, alipay = accounts["stripe"], accounts["alipay"]
    event, notice = stripe.sample(), alipay.sample()
    async with start() as served:
        for pending in (1, 2, 0):
            assert (await served.post(stripe.signed({**event, "pending_webhooks": pending}))).status == 200
        for sent in ("2025-10-09 16:53:20", "2025-10-09 17:53:20"):
            assert (await served.post(alipay.signed({**notice, "notify_time": sent}))).status == 200
        assert served.counted("receiver_callbacks_total", source="stripe", result="conflict") == 0
    assert await ledger.counts() == {"dedup_key": 2, "event": 2, "dispatch": 3}


@pytest.mark.parametrize("door", ["fast", "asgi"])
async def test_what_cannot_be_decrypted_is_kept_and_asked_for_again(
    accounts: Mapping[str, Account], ledger: Ledger, start: Start, door: str
) -> None:
    wechat = accounts["wechatpay"]
    document = json.loads(wechat.sent().body)
    document["resource"]["nonce"] = "another-nonc"
    sent = wechat.sealed(json.dumps(document).encode())
    async with start(door) as served:
        replies = [await served.post(sent) for _ in range(2)]
    for reply in replies:
        said = json.loads(reply.body)
        assert (reply.status, said["code"], said["reason"]) == (503, "FAIL", "resource_undecryptable")
        assert reply.headers["retry-after"] == "5"
    assert await ledger.counts() == {"quarantine": 1}
    ((reason, body, deliveries, external_id),) = await ledger.query(
        "SELECT reason, body, deliveries, external_id FROM receiver.quarantine"
    )
    assert (reason, body, deliveries) == ("resource_undecryptable", sent.body, 2)
    assert external_id == document["id"], "an operator finds it by its id"
    assert await ledger.redis_keys() == 0


async def test_several_facts_in_one_callback(ledger: Ledger, start: Start) -> None:
    """All are stored in one commit; each has a key, an event and dispatches of its own."""
    async with start() as served:
        assert served.inbox is not None
        rows = [arrival(name, b"f" * 16, "one", "two") for name in ("a", "b", "c")]
        assert await submit(served.inbox, rows) is Outcome.STORED
        assert await submit(served.inbox, rows) is Outcome.DUPLICATE
        more = [*rows[:2], arrival("d", b"f" * 16, "one")]
        assert await submit(served.inbox, more) is Outcome.STORED, "one of them is new"
        other = [rows[0], arrival("b", b"g" * 16, "one")]
        assert await submit(served.inbox, other) is Outcome.CONFLICT
        beside = [arrival("e", b"f" * 16, "one"), arrival("c", b"g" * 16, "one")]
        assert await submit(served.inbox, beside) is Outcome.CONFLICT, "what is new beside it does not hide it"
    assert await ledger.counts() == {"dedup_key": 5, "event": 5, "dispatch": 8, "quarantine": 2}
