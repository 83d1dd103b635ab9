"""The demo's shop: the part that a merchant writes. Two handlers, which keep orders in tables of the shop's own.

Each runs in a transaction that also records that it succeeded, so an order and its ledger entry are written once,
however often the provider calls and however often a run fails.
"""

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from receiver import Dead, Event, Receiver, Retry, RetryPolicy

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

# Quick, so that nobody who watches the demo has to wait; the default policy tries for three days.
receiver = Receiver(retry=RetryPolicy(first=0.2, factor=1.5, cap=2.0, attempts=20))

TABLES: Final = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
    id text PRIMARY KEY,
    state text NOT NULL DEFAULT 'open',
    warehouse text NOT NULL DEFAULT 'open'
);
CREATE TABLE shop.ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL,
    order_id text NOT NULL,
    entry text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
);
"""
YOURS: Final = "order-yours"
"""An order for whoever tries `receiver send`."""
PLACE_ORDERS: Final = "INSERT INTO shop.orders (id, warehouse) SELECT * FROM unnest($1::text[], $2::text[])"
COUNT_EFFECTS: Final = "SELECT count(*) FROM shop.ledger"

_ORDER: Final = text("SELECT state, warehouse FROM shop.orders WHERE id = :id FOR UPDATE")
_UPDATE: Final = text("UPDATE shop.orders SET state = :state WHERE id = :id")
_WRITE: Final = text("INSERT INTO shop.ledger (event_id, order_id, entry) VALUES (:event, :id, :entry)")


@receiver.on("stripe", "payment_intent.succeeded")
@receiver.on("standardwebhooks", "payment.succeeded")
@receiver.on("alipay", "TRADE_SUCCESS")
@receiver.on("wechatpay", "TRANSACTION.SUCCESS")
async def mark_paid(event: Event, tx: "AsyncSession") -> None:
    """A payment arrived: the order is paid."""
    order = (await tx.execute(_ORDER, {"id": event.entity_id})).one_or_none()
    if order is None:
        # Trying again would not help. An operator sees it in `receiver dead list` and can replay it.
        raise Dead("no_such_order")
    if order.warehouse == "busy" and event.attempt == 1:
        raise Retry(after=0.2, reason="warehouse_busy")
    await _enter(tx, event, "paid")


@receiver.on("stripe", "charge.refunded")
@receiver.on("standardwebhooks", "payment.refunded")
@receiver.on("wechatpay", "REFUND.SUCCESS")
async def mark_refunded(event: Event, tx: "AsyncSession") -> None:
    """A refund was made. It may be told before the payment itself: then it has to wait."""
    order = (await tx.execute(_ORDER, {"id": event.entity_id})).one_or_none()
    if order is None or order.state == "open":
        raise Retry(reason="not_paid_yet")
    await _enter(tx, event, "refunded")


async def _enter(tx: "AsyncSession", event: Event, state: str) -> None:
    await tx.execute(_UPDATE, {"state": state, "id": event.entity_id})
    await tx.execute(_WRITE, {"event": event.id, "id": event.entity_id, "entry": state})
