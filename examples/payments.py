"""Handlers of a small shop: the part that you write.

    receiver up payments:receiver --embedded .receiver

Each handler runs in a transaction that also records that it succeeded: its effect is committed once, however often
the provider calls and however often a run fails. The tables are the shop's own; `tables.py` makes them.
"""

from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver import Dead, Event, Receiver, Retry

receiver = Receiver()

_PAY = text("""
INSERT INTO shop.payment (source, entity_id, amount, currency) VALUES (:source, :entity, :amount, :currency)
ON CONFLICT (source, entity_id) DO NOTHING
RETURNING entity_id
""")
_REFUND = text("""
UPDATE shop.payment SET state = 'refunded' WHERE source = :source AND entity_id = :entity RETURNING entity_id
""")
_BOOK = text("INSERT INTO shop.ledger (event_id, entity_id, entry) VALUES (:event, :entity, :entry)")


@receiver.on("stripe", "payment_intent.succeeded")
@receiver.on("standardwebhooks", "payment.succeeded")
@receiver.on("alipay", "TRADE_SUCCESS")
@receiver.on("wechatpay", "TRANSACTION.SUCCESS")
async def mark_paid(event: Event, tx: AsyncSession) -> None:
    """A payment arrived."""
    amount, currency = money(event)
    payment = {"source": event.source, "entity": event.entity_id, "amount": amount, "currency": currency}
    # A provider may tell one payment in two events: Alipay's second TRADE_SUCCESS is a refund in part.
    if (await tx.execute(_PAY, payment)).one_or_none() is not None:
        await tx.execute(_BOOK, {"event": event.id, "entity": event.entity_id, "entry": "paid"})


@receiver.on("standardwebhooks", "payment.refunded")
@receiver.on("wechatpay", "REFUND.SUCCESS")
def mark_refunded(event: Event, tx: Session) -> None:
    """A refund was made. Events come in any order: this one may be here before the payment."""
    refund = {"source": event.source, "entity": event.entity_id}
    if tx.execute(_REFUND, refund).one_or_none() is None:
        raise Retry(reason="payment_not_here_yet")
    tx.execute(_BOOK, {"event": event.id, "entity": event.entity_id, "entry": "refunded"})


def money(event: Event) -> tuple[int, str]:
    """The amount in the currency's smallest unit, and the currency, from where each provider writes them.

    Raises:
        Dead: it is written in no way that we know; running again would not help.
    """
    match event.provider, event.data:
        case "stripe", {"data": {"object": {"amount_received": int(amount), "currency": str(currency)}}}:
            return amount, currency.upper()
        case "standardwebhooks", {"data": {"amount": int(amount), "currency": str(currency)}}:
            return amount, currency
        case "alipay", {"total_amount": str(yuan)}:
            return int(Decimal(yuan) * 100), "CNY"
        case "wechatpay", {"amount": {"total": int(amount), "currency": str(currency)}}:
            return amount, currency
        case _:
            raise Dead("amount_unreadable")
