"""The endpoint that most tutorials show, kept as the yardstick: Stripe's SDK, ORM session, SET NX, INSERT per request.

It loses callbacks (the Redis claim outlives a failed commit) and is slow; nothing of it is used by the receiver.
"""

import os
from collections.abc import AsyncIterator
from typing import Annotated

import stripe
from fastapi import Depends, FastAPI, HTTPException, Request
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SECRET = os.environ["TUTORIAL_SECRET"]
engine = create_async_engine(os.environ["TUTORIAL_DATABASE_URL"])
sessions = async_sessionmaker(engine, expire_on_commit=False)
redis = Redis.from_url(os.environ["TUTORIAL_REDIS_URL"])
app = FastAPI()


class Base(DeclarativeBase):
    """Declarative base."""


class WebhookEvent(Base):
    """A stored event."""

    __tablename__ = "tutorial_event"
    id: Mapped[int] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(unique=True)
    type: Mapped[str]
    payload: Mapped[bytes]


async def session() -> AsyncIterator[AsyncSession]:
    """A session per request."""
    async with sessions() as opened:
        yield opened


@app.post("/callbacks/stripe")
async def webhook(request: Request, db: Annotated[AsyncSession, Depends(session)]) -> dict[str, str]:
    """Verify, claim in Redis, insert, commit."""
    body = await request.body()
    try:
        event = stripe.Webhook.construct_event(body, request.headers["stripe-signature"], SECRET)
    except (ValueError, stripe.SignatureVerificationError):
        raise HTTPException(400) from None
    if not await redis.set(f"webhook:{event['id']}", 1, nx=True, ex=86400):
        return {"status": "duplicate"}
    db.add(WebhookEvent(external_id=event["id"], type=event["type"], payload=body))
    await db.commit()
    return {"status": "ok"}
