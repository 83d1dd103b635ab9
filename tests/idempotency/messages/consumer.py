"""A consumer in a process of its own, for tests that kill it: consumer.py HOW NATS DATABASE STREAM [hang].

HOW is a function below. It notes each delivery, and the effect of each message once. With `hang` it says `committed`
and waits for ever, between the commit and the acknowledgement.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import nats
from nats.errors import TimeoutError as NothingCame
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from receiver.messages import consumed, nats_id
from receiver.storage.engine import async_url
from tests.idempotency.messages.streams import DELIVERY, DURABLE, EFFECT

PAUSE = 0.2
"""Seconds that an empty stream is waited for at once."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the command line says."""

    nats_url: str
    database_url: str
    stream: str
    hangs: bool

    def sessions(self) -> async_sessionmaker[AsyncSession]:
        return async_sessionmaker(create_async_engine(async_url(self.database_url)))


async def hang() -> None:
    """Tell that the effect is committed, and never acknowledge."""
    print("committed", flush=True)  # noqa: T201  the test reads it
    await asyncio.Event().wait()


async def note(sessions: async_sessionmaker[AsyncSession], message: str) -> None:
    """Note a delivery, whatever becomes of it."""
    async with sessions.begin() as tx:
        await tx.execute(DELIVERY, {"message": message})


async def plain(order: Order) -> None:
    """nats-py alone."""
    sessions = order.sessions()
    client = await nats.connect(order.nats_url)
    subscription = await client.jetstream().pull_subscribe(order.stream, durable=DURABLE, stream=order.stream)
    while True:
        try:
            messages = await subscription.fetch(5, timeout=PAUSE)
        except NothingCame:
            continue
        for message in messages:
            body = message.data.decode()
            await note(sessions, body)
            ack = hang if order.hangs else message.ack
            async with consumed(sessions, scope="orders", message_id=nats_id(message), ack=ack) as tx:
                if tx is not None:
                    await tx.execute(EFFECT, {"message": body})


async def faststream(order: Order) -> None:
    """The middleware, inside of one that notes and hangs."""
    from faststream import BaseMiddleware, FastStream, StreamMessage  # noqa: PLC0415  the other one starts faster so
    from faststream.nats import JStream, NatsBroker, PullSub  # noqa: PLC0415

    from receiver.faststream import ExactlyOnce, Tx  # noqa: PLC0415

    sessions = order.sessions()

    class Around(BaseMiddleware):
        async def consume_scope(
            self, call_next: Callable[[StreamMessage[Any]], Awaitable[Any]], msg: StreamMessage[Any]
        ) -> object:
            await note(sessions, msg.body.decode())
            result = await call_next(msg)
            if order.hangs:
                await hang()
            return result

    broker = NatsBroker(order.nats_url, middlewares=[Around, ExactlyOnce(sessions, scope="orders")], logger=None)
    where = JStream(order.stream, declare=False)

    @broker.subscriber(order.stream, stream=where, durable=DURABLE, pull_sub=PullSub(timeout=PAUSE))
    async def handle(body: str, tx: Tx) -> None:
        await tx.execute(EFFECT, {"message": body})

    await FastStream(broker, logger=None).run()


def main(how: str, nats_url: str, database_url: str, stream: str, *rest: str) -> None:
    """Consume until killed."""
    order = Order(nats_url=nats_url, database_url=database_url, stream=stream, hangs=bool(rest))
    asyncio.run({"plain": plain, "faststream": faststream}[how](order))


if __name__ == "__main__":
    main(*sys.argv[1:])
