"""The handler whose start is timed: it writes down when it began, which is also its effect."""

import time

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Event, Receiver

receiver = Receiver()

NOTE = sa.text("INSERT INTO public.begun (callback, at) VALUES (:callback, :at)")


@receiver.on("stripe", "payment_intent.succeeded")
async def note_start(event: Event, tx: AsyncSession) -> None:
    """Note the moment, by the clock that all processes of a machine share."""
    at = time.monotonic_ns()
    await tx.execute(NOTE, {"callback": int(event.external_id.removeprefix("evt_")), "at": at})
