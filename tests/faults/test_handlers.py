"""Handlers that take their time, and events that come before what they need: providers notice nothing."""

import asyncio
import threading
import time
from collections.abc import Mapping
from statistics import median

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver import Event, NotYet, Receiver, RetryPolicy
from receiver.settings import Settings
from tests.faults.conftest import ask_oracle
from tests.ingress.accounts import Account
from tests.ingress.ledger import Ledger
from tests.ingress.serving import serving

Accounts = Mapping[str, Account]
EFFECT = text("INSERT INTO effect VALUES (:handler, :event)")
SLOTS = 4


def row(event: Event) -> dict[str, object]:
    return {"handler": event.handler, "event": event.id}


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_slow_handlers_do_not_slow_down_answers(  # fault 29
    *, accounts: Accounts, ledger: Ledger, settings: Settings, kind: str
) -> None:
    """All slots of the worker are taken, in the very process that answers."""
    proceed = threading.Event()

    async def slow(event: Event, tx: AsyncSession) -> None:
        await tx.execute(EFFECT, row(event))
        await asyncio.to_thread(proceed.wait)

    def slow_sync(event: Event, tx: Session) -> None:
        tx.execute(EFFECT, row(event))
        proceed.wait()

    receiver = Receiver()
    receiver.on("stripe", name="slow")(slow if kind == "async" else slow_sync)
    sent = [accounts["stripe"].sent() for _ in range(50)]
    changed = settings.model_copy(update={"concurrency": SLOTS, "poll_seconds": 0.1})
    try:
        async with serving(receiver, changed) as served, receiver.worker(changed):
            assert (await served.post(sent[0])).status == 200
            took = []
            for number, one in enumerate(sent):
                began = time.perf_counter()
                async with asyncio.timeout(10):  # the handlers wait for as long as nobody lets them go on
                    assert (await served.post(one)).status == 200
                took.append(time.perf_counter() - began)
                if number == SLOTS:
                    await ledger.until(f"SELECT count(*) >= {SLOTS} FROM receiver.dispatch WHERE state = 'leased'")
            assert await ledger.value("SELECT count(*) FROM receiver.every_attempt") == 0, "none of them is through"
            assert median(took[SLOTS + 1 :]) < 5 * median(took[: SLOTS + 1]) + 0.02, "as quick as before"
            proceed.set()
            await ask_oracle(ledger, [one.external_id for one in sent])
    finally:
        proceed.set()


async def test_an_event_before_its_order_waits_and_does_not_die(  # fault 36
    accounts: Accounts, ledger: Ledger, settings: Settings
) -> None:
    receiver = Receiver(retry=RetryPolicy(attempts=1))

    @receiver.on("stripe", "payment_intent.created")
    async def place_order(event: Event, tx: AsyncSession) -> None:
        await tx.execute(EFFECT, row(event))

    @receiver.on("stripe", "payment_intent.succeeded")
    async def ship(event: Event, tx: AsyncSession) -> None:
        placed = text("SELECT EXISTS (SELECT FROM effect WHERE handler = 'place_order')")
        if not (await tx.execute(placed)).scalar():
            raise NotYet("no_such_order", after=0.05)
        await tx.execute(EFFECT, row(event))

    stripe = accounts["stripe"]
    paid, created = stripe.sent(), stripe.sent(type="payment_intent.created")
    async with serving(receiver, settings) as served, receiver.worker(settings):
        assert (await served.post(paid)).status == 200
        await ledger.until("SELECT count(*) >= 3 FROM receiver.every_attempt WHERE reason = 'no_such_order'")
        assert (await served.post(created)).status == 200
        await ask_oracle(ledger, [paid.external_id, created.external_id])
    assert await ledger.query("SELECT attempts, reason FROM receiver.dispatch") == [(1, None)] * 2
