"""A callback of several events: all of them in one commit and under one answer, and a resend adds only what is new."""

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Event, Receiver
from receiver.settings import made
from tests.ingress.accounts import Sent
from tests.ingress.inboxes import locked
from tests.ingress.ledger import Ledger
from tests.ingress.serving import DOORS, Serving, serving

SECRET = "batches"
HMAC_KEY = "1" * 64
SOURCES: Mapping[str, Mapping[str, object]] = {
    "gocardless": {"provider": "gocardless", "secrets": [SECRET]},
    "adyen": {"provider": "adyen", "secrets": [HMAC_KEY], "answer": "accepted"},
}
Batches = Callable[..., AbstractAsyncContextManager[Serving]]
COUNTED = ("accepted", "duplicate", "conflict", "quarantined")


def item(name: str, action: str = "confirmed", **more: object) -> dict[str, object]:
    """An event of GoCardless's."""
    links = {"payment": f"PM_{name}"}
    created = "2025-10-09T08:53:20.123Z"
    return {"id": name, "created_at": created, "resource_type": "payments", "action": action, "links": links, **more}


def batch(*items: object) -> Sent:
    """Signed by hand. With spaces, so that the bytes of an item are not those of an encoder by chance."""
    written = ",\n ".join(json.dumps(one, ensure_ascii=False) for one in items)
    body = f'{{"events": [{written} ], "meta": {{"webhook_id": "WB1"}}}}'.encode()
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest().encode()
    return Sent("/callbacks/gocardless", ((b"webhook-signature", digest),), body)


@pytest.fixture
def batches(ledger: Ledger) -> Batches:
    """The service with a handler for confirmed payments."""

    async def ship(event: Event, tx: AsyncSession) -> None:
        del event, tx

    @asynccontextmanager
    async def run(door: str = "fast", **changes: object) -> AsyncIterator[Serving]:
        urls = {"database_url": ledger.database_url, "redis_url": ledger.redis_url}
        settings = made(**urls, sources=SOURCES, **changes)
        receiver = Receiver(settings)
        receiver.on("gocardless", "payments.confirmed")(ship)
        async with serving(receiver, settings, door) as served:
            yield served

    return run


def counted(served: Serving) -> dict[str, float]:
    """How many callbacks came to what."""
    found = {r: served.counted("receiver_callbacks_total", source="gocardless", result=r) for r in COUNTED}
    return {result: count for result, count in found.items() if count}


async def answers(served: Serving, *sent: Sent) -> list[tuple[int, bytes]]:
    replies = [await served.post(one) for one in sent]
    return [(reply.status, reply.body) for reply in replies]


@pytest.mark.parametrize("door", DOORS)
async def test_one_commit_and_one_answer(ledger: Ledger, batches: Batches, door: str) -> None:
    items = [item("EV1"), item("EV2", note="é"), item("EV3", "failed")]
    sent = batch(*items)
    async with batches(door) as served:
        assert await answers(served, sent) == [(200, b"")]
        assert counted(served) == {"accepted": 1}
        assert await ledger.counts() == {"dedup_key": 3, "event": 3, "dispatch": 2}
    rows = await ledger.query("SELECT external_id, type, entity_id, body FROM receiver.event ORDER BY id")
    assert rows == [
        (one["id"], f"payments.{one['action']}", f"PM_{one['id']}", json.dumps(one, ensure_ascii=False).encode())
        for one in items
    ]
    assert all(body in sent.body for *_, body in rows if isinstance(body, bytes)), "the very bytes of the item"
    transactions = """
    SELECT count(DISTINCT x) FROM (
        SELECT xmin::text FROM receiver.event UNION ALL SELECT xmin::text FROM receiver.dedup_key
        UNION ALL SELECT xmin::text FROM receiver.dispatch) AS t(x)
    """
    assert await ledger.value(transactions) == 1


async def test_what_comes_again_adds_only_what_is_new(ledger: Ledger, batches: Batches) -> None:
    first, again = batch(item("EV1"), item("EV2")), batch(item("EV2"), item("EV3"), item("EV3"))
    async with batches() as served:
        assert await answers(served, first, first, again, again, batch(item("EV2"))) == [(200, b"")] * 5
        assert counted(served) == {"accepted": 2, "duplicate": 3}
    assert await ledger.stored() == {"EV1": 1, "EV2": 1, "EV3": 1}
    assert (await ledger.counts())["dispatch"] == 3
    repeated = await ledger.query(
        "SELECT e.external_id, k.duplicates FROM receiver.event e JOIN receiver.dedup_key k ON k.event_id = e.id"
    )
    assert sorted(repeated) == [("EV1", 1), ("EV2", 4), ("EV3", 3)], (
        "counted for each event, whatever it came along with"
    )


ODD: Mapping[str, tuple[object, str]] = {
    "no id": ({**item("EV9"), "id": None}, "id_invalid"),
    "no object": ("EV9", "item_malformed"),
    "a NUL": (item("EV9", note="a\0b"), "json_nul"),
    "no type": ({"id": "EV9", "links": {}}, "type_invalid"),
}


async def test_an_odd_item_does_not_cost_the_others(ledger: Ledger, batches: Batches) -> None:
    async with batches() as served:
        for number, (case, (odd, reason)) in enumerate(ODD.items(), start=1):
            sent = batch(item(f"{case} 1"), odd, item(f"{case} 2"))
            assert await answers(served, sent, sent) == [(200, b"")] * 2, case
            assert counted(served) == {"quarantined": 2 * number}, case
            assert (await ledger.counts())["event"] == 2 * number, case
            kept = await ledger.query("SELECT reason, body, deliveries FROM receiver.quarantine ORDER BY id DESC")
            assert kept[0] == (reason, json.dumps(odd, ensure_ascii=False).encode(), 2), case
            assert len(kept) == number, case


async def test_two_odd_items_are_both_kept(ledger: Ledger, batches: Batches) -> None:
    first, second = {**item("EV1"), "id": 1}, {**item("EV2"), "id": 2}
    async with batches() as served:
        assert await answers(served, batch(first, second)) == [(200, b"")]
        assert counted(served) == {"quarantined": 1}
    kept = await ledger.query("SELECT body, deliveries FROM receiver.quarantine ORDER BY id")
    assert kept == [(json.dumps(one).encode(), 1) for one in (first, second)]


@pytest.mark.parametrize("table", ["quarantine", "dedup_key"])
async def test_no_success_before_both_are_committed(ledger: Ledger, batches: Batches, table: str) -> None:
    """Whichever of the two cannot be written: the batch is asked for again, and then nothing is missing."""
    sent = batch(item("EV1"), {**item("EV2"), "id": None})
    async with batches(answer_deadline=1.0) as served:
        async with locked(ledger.database_url, table):
            ((status, _),) = await answers(served, sent)
            assert status == 503
        assert counted(served) == {}
        assert await answers(served, sent) == [(200, b"")]
    assert await ledger.stored() == {"EV1": 1}
    assert await ledger.query("SELECT reason FROM receiver.quarantine") == [("id_invalid",)]


BAD: Mapping[str, Callable[[Sent], Sent]] = {
    "one item changed": lambda sent: sent.with_body(sent.body.replace(b"EV2", b"EV8")),
    "one item added": lambda sent: sent.with_body(sent.body.replace(b" ]", b', {"id": "EV8"} ]')),
    "no signature": lambda sent: sent.with_header(b"webhook-signature"),
}


async def test_nothing_of_a_forged_batch_is_stored(ledger: Ledger, batches: Batches) -> None:
    async with batches() as served:
        for case, change in BAD.items():
            ((status, _),) = await answers(served, change(batch(item("EV1"), item("EV2"))))
            assert status == 401, case
    assert await ledger.counts() == {}
    assert await ledger.redis_keys() == 0


WHOLE: Mapping[str, tuple[bytes, str]] = {
    "no array": (b'{"events": {"id": "EV1"}}', "batch_malformed"),
    "nothing in it": (b'{"events": []}', "batch_malformed"),
    "not there": (b'{"event": []}', "batch_malformed"),
    "a key twice in an item": (b'{"events": [{"id": "EV1", "id": "EV2"}]}', "json_duplicate_key"),
    "cut": (b'{"events": [{"id": "EV1"}', "json_invalid"),
}


async def test_what_is_no_batch_is_kept_whole(ledger: Ledger, batches: Batches) -> None:
    async with batches() as served:
        for body, _ in WHOLE.values():
            digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest().encode()
            sent = Sent("/callbacks/gocardless", ((b"webhook-signature", digest),), body)
            assert await answers(served, sent) == [(200, b"")]
    kept = await ledger.query("SELECT body, reason FROM receiver.quarantine ORDER BY id")
    assert kept == list(WHOLE.values())


def adyen_batch(*names: str, changed: str = "") -> Sent:
    """Refunds of nothing, signed one by one; one of them changed behind the signature."""
    items = []
    for name in names:
        members = {"pspReference": name, "eventCode": "REFUND", "amount": {"value": 0, "currency": "EUR"}}
        text = f"{name}::::0:EUR:REFUND:true".encode()
        digest = b64encode(hmac.new(bytes.fromhex(HMAC_KEY), text, hashlib.sha256).digest()).decode()
        success = "false" if name == changed else "true"
        additional = {"hmacSignature": digest}
        items.append({"NotificationRequestItem": {**members, "success": success, "additionalData": additional}})
    return Sent("/callbacks/adyen", (), json.dumps({"live": "true", "notificationItems": items}).encode())


async def test_one_item_that_is_not_signed(ledger: Ledger, batches: Batches) -> None:
    """The others were genuine, and they are not stored either: the provider sends all of it again."""
    names = ("P1", "P2", "P3")
    async with batches() as served:
        for changed in names:
            ((status, _),) = await answers(served, adyen_batch(*names, changed=changed))
            assert status == 401
        assert await ledger.counts() == {}
        assert await ledger.redis_keys() == 0
        assert await answers(served, adyen_batch(*names), adyen_batch("P3", "P4")) == [(200, b"[accepted]")] * 2
    assert await ledger.stored() == {f"P{number}:REFUND:true": 1 for number in range(1, 5)}
