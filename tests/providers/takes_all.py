"""A merchant's program that handles every event of every provider with one effect. Copied beside a test's settings."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Event, Receiver
from receiver.sources import PROVIDERS

# No key keeps a second effect out: a test must be able to see it.
_WRITE = text("INSERT INTO public.effect VALUES (:handler, :event)")


async def take(event: Event, tx: AsyncSession) -> None:
    """Reads the event's data, so that what cannot be read would show."""
    assert event.data is not None
    await tx.execute(_WRITE, {"handler": event.handler, "event": event.id})


receiver = Receiver()
for provider in PROVIDERS:
    receiver.on(provider)(take)
