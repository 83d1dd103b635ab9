"""Events from dicts, and callbacks that the receiver takes."""

import asyncio
import datetime as dt
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Event, Receiver
from receiver.errors import ReceiverError
from receiver.settings import made
from receiver.sources import PROVIDERS, made_up
from receiver.testing import SignedCallback, make_event, signed_callback

SECONDS = 30.0
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def receiver(database_url: str, redis_url: str) -> Receiver:
    sources = {name: made_up(name) for name in PROVIDERS}
    return Receiver(made(database_url=database_url, redis_url=redis_url, sources=sources))


async def post(receiver: Receiver, *callbacks: SignedCallback) -> list[int]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(receiver), base_url="http://shop") as client:
        return [
            (await client.post(each.path, content=each.body, headers=each.headers)).status_code for each in callbacks
        ]


def test_keys_for_outside_calls_stay_what_they_are() -> None:
    """Another formula in a later version would charge again whoever is replayed."""
    event = make_event("stripe", "charge.paid", external_id="evt_1", handler="charge", attempt=2)
    assert event.idempotency_key("charge") == "1874ada29717e9ea2c40041616da939e"


@pytest.mark.parametrize("source", PROVIDERS)
async def test_a_callback_is_taken_and_its_event_is_the_one_that_handlers_get(receiver: Receiver, source: str) -> None:
    got: asyncio.Queue[Event] = asyncio.Queue()

    @receiver.on(source)
    async def keep(event: Event, _tx: AsyncSession) -> None:
        await got.put(event)

    first, second = (signed_callback(receiver, source, entity_id=f"order{n}") for n in (1, 2))
    async with asyncio.timeout(SECONDS), receiver.lifespan():
        assert set(await post(receiver, first, first, second)) <= {200, 202, 204}
        handled = {event.entity_id: event for event in (await got.get(), await got.get())}
    assert got.empty()
    for callback in (first, second):
        event = callback.event(handler="keep")
        assert event.id.version == 7
        real = handled[event.entity_id]
        assert event == replace(real, id=event.id, received_at=event.received_at)
        assert event.data == real.data


async def test_a_callback_of_long_ago_is_refused(receiver: Receiver) -> None:
    old = signed_callback(receiver, "stripe", sent_at=NOW - dt.timedelta(hours=1))
    async with receiver.lifespan():
        assert await post(receiver, old) == [401]
    assert old.event().occurred_at == (NOW - dt.timedelta(hours=1)).replace(microsecond=0)


def test_a_callback_says_what_is_asked(receiver: Receiver) -> None:
    changes = {"data.object.amount": 77, "livemode": True}
    sample = signed_callback(receiver, "stripe", "refunded", entity_id="ch_1", changes=changes, created_at=NOW).event()
    assert (sample.type, sample.entity_id, sample.livemode) == ("charge.refunded", "ch_1", True)
    assert sample.occurred_at == NOW.replace(microsecond=0)
    assert b'"amount": 77' in sample.body
    own = signed_callback(receiver, "stripe", payload={"id": "{id}", "type": "own", "created": "{created}"}).event()
    assert (own.type, own.entity_id) == ("own", None)
    assert own.external_id.startswith("evt_")


def test_an_event_is_what_its_arguments_say() -> None:
    data = {"price": 12.5, "exact": Decimal("0.10"), "large": 10**30, "none": None}
    event = make_event("stripe-eu", "charge.paid", data, provider="stripe", entity_id="ch_1", attempt=3)
    assert event.data == {"price": Decimal("12.5"), "exact": Decimal("0.10"), "large": 10**30, "none": None}
    assert (event.source, event.provider, event.type, event.attempt) == ("stripe-eu", "stripe", "charge.paid", 3)
    other = make_event("stripe-eu", None)
    assert (other.provider, other.data) == ("stripe-eu", {})
    assert other.external_id != event.external_id
    assert other.occurred_at == event.occurred_at
    assert other.received_at.tzinfo is not None


@pytest.mark.parametrize("name", ["occurred_at", "received_at"])
@pytest.mark.parametrize("time", [dt.datetime(2026, 1, 1), dt.date(2026, 1, 1), "2026-01-01T00:00:00Z"])  # noqa: DTZ001
def test_a_time_that_no_event_has_is_refused(name: str, time: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: must be a datetime with a time zone"):
        make_event("stripe", None, **{name: time})


def test_an_event_may_have_no_time_of_its_own() -> None:
    assert make_event("stripe", None, occurred_at=None).occurred_at is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("strip",), "sources.strip: is not configured; there is adyen, alipay, "),
        (("stripe", "nope"), "stripe has no sample 'nope'"),
    ],
)
def test_what_cannot_be_made_is_an_error(receiver: Receiver, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ReceiverError, match=re.escape(message)):
        signed_callback(receiver, *arguments)


def test_a_change_that_leads_nowhere_is_an_error(receiver: Receiver) -> None:
    with pytest.raises(ReceiverError, match=r"data\.nope\.x: there is no 'nope'"):
        signed_callback(receiver, "stripe", changes={"data.nope.x": 1})


def test_what_goes_to_quarantine_is_no_event(receiver: Receiver) -> None:
    with pytest.raises(ValueError, match="id_missing"):
        signed_callback(receiver, "stripe", payload={"type": "own"}).event()


async def test_a_token_is_in_the_address_of_a_source_that_wants_one(database_url: str, redis_url: str) -> None:
    unsigned = {**made_up("mollie"), "verification": "none", "token": "url"}
    receiver = Receiver(
        made(database_url=database_url, redis_url=redis_url, token_keys=["k" * 32], sources={"mollie": unsigned})
    )
    first, second = (signed_callback(receiver, "mollie") for _ in range(2))
    async with receiver.lifespan(work=False):
        assert await post(receiver, first, first, second, replace(first, path="/callbacks/mollie")) == [
            200,
            200,
            200,
            401,
        ]
    assert first.event().trust == "sender"
