"""A merchant's handlers, which leave one row for each effect. Imported by tests, copied beside a program's settings."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Event, Receiver, RetryPolicy
from receiver.settings import Settings

# No key keeps a second effect out: a test must be able to see it.
EFFECTS = "CREATE TABLE IF NOT EXISTS public.effect (handler text NOT NULL, event_id uuid NOT NULL)"
_WRITE = text("INSERT INTO public.effect VALUES (:handler, :event)")


async def mark_paid(event: Event, tx: AsyncSession) -> None:
    """Payments of all providers."""
    await tx.execute(_WRITE, {"handler": event.handler, "event": event.id})


async def ship(event: Event, tx: AsyncSession) -> None:
    """A second handler for the same event."""
    await tx.execute(_WRITE, {"handler": event.handler, "event": event.id})


def build(settings: Settings | None = None) -> Receiver:
    """A receiver with both handlers: two dispatches for a payment of Stripe's, one for those of the others."""
    made = Receiver(settings, retry=RetryPolicy(first=0.1, factor=1, cap=0.1, attempts=50))
    made.on("stripe", "payment_intent.*")(mark_paid)
    made.on("standardwebhooks", "payment.*")(mark_paid)
    made.on("alipay", "TRADE_*")(mark_paid)
    made.on("wechatpay", "TRANSACTION.*")(mark_paid)
    made.on("stripe", "payment_intent.succeeded")(ship)
    return made


receiver = build()
