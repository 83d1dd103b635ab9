"""A run in a test says what the handler emitted, as events that can be handed to the next handler."""

from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver import Dead, Event, Receiver
from receiver.handlers.handler import Function
from receiver.testing import make_event, run_handler

receiver = Receiver()
PAYLOAD = {"total": Decimal("12.50")}
STORED = text("SELECT count(*) FROM receiver.event")


async def pays(event: Event, tx: AsyncSession) -> None:
    await receiver.emit(tx, "order.paid", PAYLOAD, key="o_1", entity_id=event.entity_id)
    await receiver.emit(tx, "order.paid", PAYLOAD, key="o_1", entity_id=event.entity_id)
    await receiver.emit(tx, "stock.taken", 1, key="o_1", occurred_at=event.occurred_at)


def pays_sync(event: Event, tx: Session) -> None:
    receiver.emit_sync(tx, "order.paid", PAYLOAD, key="o_1", entity_id=event.entity_id)
    receiver.emit_sync(tx, "stock.taken", 1, key="o_1", occurred_at=event.occurred_at)


async def changes_its_mind(event: Event, tx: AsyncSession) -> None:
    async with tx.begin_nested() as savepoint:
        await receiver.emit(tx, "order.lost", 1, key="o_1")
        await savepoint.rollback()
    await pays(event, tx)


async def gives_up(event: Event, tx: AsyncSession) -> None:
    await pays(event, tx)
    raise Dead("no_such_order")


async def mail(event: Event, tx: AsyncSession) -> None:
    await tx.execute(text("INSERT INTO effect VALUES (:id, :handler, '')"), {"id": event.id, "handler": event.handler})


for function in (pays, pays_sync, changes_its_mind, gives_up):
    receiver.on("stripe", function.__name__)(function)
receiver.on("internal", "order.paid")(mail)


@pytest.mark.parametrize("function", [pays, pays_sync, changes_its_mind])
async def test_what_was_emitted(tx: AsyncSession, function: Function) -> None:
    event = make_event("stripe", getattr(function, "__name__", ""))
    outcome = await run_handler(receiver, event, tx)
    assert outcome.state == "succeeded", outcome.error
    paid, taken = outcome.emitted
    assert (paid.source, paid.type, paid.external_id) == ("internal", "order.paid", "order.paid:o_1")
    assert (paid.data, paid.entity_id, paid.occurred_at) == (PAYLOAD, "entity_1", None)
    assert (taken.type, taken.data, taken.occurred_at) == ("stock.taken", 1, event.occurred_at)
    assert paid.received_at.tzinfo is not None
    assert (await run_handler(receiver, event, tx)).emitted == (), "it was emitted before"
    followed = await run_handler(receiver, paid, tx)
    assert (followed.state, followed.emitted) == ("succeeded", ())
    assert await tx.scalar(text("SELECT handler FROM effect")) == "mail"
    await tx.rollback()
    assert await tx.scalar(STORED) == 0


async def test_nothing_of_a_run_that_failed(tx: AsyncSession) -> None:
    outcome = await run_handler(receiver, make_event("stripe", "gives_up"), tx)
    assert (outcome.state, outcome.emitted) == ("dead", ())
    assert await tx.scalar(STORED) == 0
