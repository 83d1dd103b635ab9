"""A receipt by mail for each payment: a call to the outside that follows the commit.

    MAIL_URL=https://mail.example/receipts receiver up receipts:receiver --embedded .receiver

The handler that books the payment calls nobody. It emits an event in its own transaction: booked and to be mailed, or
neither. The mail is sent by a handler of its own, which is tried again when the mail server is down, always with the
same key, and holds up no booking.
"""

import os

import httpx
from payments import money
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Event, Receiver

receiver = Receiver()

_PAY = text("""
INSERT INTO shop.payment (source, entity_id, amount, currency) VALUES (:source, :entity, :amount, :currency)
ON CONFLICT (source, entity_id) DO NOTHING
RETURNING entity_id
""")
_BOOK = text("INSERT INTO shop.ledger (event_id, entity_id, entry) VALUES (:event, :entity, :entry)")


@receiver.on("stripe", "payment_intent.succeeded")
async def mark_paid(event: Event, tx: AsyncSession) -> None:
    """Book the payment, and have a receipt sent if it is a new one."""
    amount, currency = money(event)
    payment = {"source": event.source, "entity": event.entity_id, "amount": amount, "currency": currency}
    if (await tx.execute(_PAY, payment)).one_or_none() is None:
        return
    await tx.execute(_BOOK, {"event": event.id, "entity": event.entity_id, "entry": "paid"})
    await receiver.emit(
        tx,
        "order.paid",
        {"order": event.entity_id, "amount": amount, "currency": currency},
        key=f"{event.source}:{event.entity_id}",
        entity_id=event.entity_id,
        occurred_at=event.occurred_at,
    )


@receiver.on("internal", "order.paid", timeout=30)
async def send_receipt(event: Event, tx: AsyncSession) -> None:
    """Mail the receipt, and note that it was sent."""
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.post(
            os.environ["MAIL_URL"],
            headers={"Content-Type": "application/json", "Idempotency-Key": event.idempotency_key("receipt")},
            content=event.body,
        )
        answer.raise_for_status()
    await tx.execute(_BOOK, {"event": event.id, "entity": event.entity_id, "entry": "receipt"})
