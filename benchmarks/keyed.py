"""Routes that do next to nothing, each behind what keeps requests from being done twice: a client's key, or a token."""

import os
from itertools import count

from fastapi import FastAPI
from idempotency_header_middleware import IdempotencyHeaderMiddleware
from idempotency_header_middleware.backends.redis import RedisBackend
from pydantic import BaseModel
from redis.asyncio import Redis

from receiver import Receiver

receiver = Receiver()
app = FastAPI()
bare = FastAPI()
peer = FastAPI()
keyed = FastAPI()
tokened = FastAPI()
numbers = count()


class Refund(BaseModel):
    """What a client sends."""

    payment: str
    amount: int


@bare.post("/refunds")
@peer.post("/refunds")
async def refund(wanted: Refund) -> dict[str, object]:
    """Answer with a number that is new in each run."""
    return {"refund": next(numbers), "payment": wanted.payment, "amount": wanted.amount}


@keyed.post("/refunds")
@receiver.keyed(scope="refunds", required=True)
async def refund_once(wanted: Refund) -> dict[str, object]:
    """The same."""
    return await refund(wanted)


@tokened.post("/refunds", dependencies=[receiver.idempotent(scope="refunds")])
async def refund_for_a_token(wanted: Refund) -> dict[str, object]:
    """The same."""
    return await refund(wanted)


def anybody() -> None:
    """Whoever asks for tokens gets them."""


peer.add_middleware(IdempotencyHeaderMiddleware, backend=RedisBackend(Redis.from_url(os.environ["RECEIVER_REDIS_URL"])))
app.mount("/bare", bare)
app.mount("/peer", peer)
app.mount("/keyed", keyed)
app.mount("/tokened", tokened)
receiver.issue_tokens_to(anybody)
receiver.install(app, tokens="/tokens")
