"""Two ways to consume a stream in the test's own process: nats-py alone, and FastStream with the middleware."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import nats
from faststream.nats import JStream, NatsBroker, PullSub
from nats.errors import TimeoutError as NothingCame
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from receiver.faststream import ExactlyOnce, Tx
from receiver.messages import consumed, nats_id
from tests.idempotency.messages.streams import DURABLE, Stream

PAUSE = 0.2
Sessions = async_sessionmaker[AsyncSession]
Handle = Callable[[str, AsyncSession], Awaitable[None]]


@asynccontextmanager
async def plain(stream: Stream, sessions: Sessions, handle: Handle) -> AsyncIterator[None]:
    """nats-py alone."""
    client = await nats.connect(stream.nats_url)
    subscription = await client.jetstream().pull_subscribe(stream.name, durable=DURABLE, stream=stream.name)

    async def run() -> None:
        while True:
            try:
                [message] = await subscription.fetch(1, timeout=PAUSE)
            except NothingCame:
                continue
            async with consumed(sessions, scope="orders", message_id=nats_id(message), ack=message.ack) as tx:
                if tx is not None:
                    await handle(message.data.decode(), tx)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        yield
        task.cancel()
    await client.close()


@asynccontextmanager
async def faststream(stream: Stream, sessions: Sessions, handle: Handle) -> AsyncIterator[None]:
    """FastStream, with the middleware."""
    broker = NatsBroker(stream.nats_url, middlewares=[ExactlyOnce(sessions, scope="orders")], logger=None)
    where = JStream(stream.name, declare=False)

    @broker.subscriber(stream.name, stream=where, durable=DURABLE, pull_sub=PullSub(timeout=PAUSE))
    async def order(body: str, tx: Tx) -> None:
        await handle(body, tx)

    async with broker:
        await broker.start()
        yield


Consumer = Callable[[Stream, Sessions, Handle], AbstractAsyncContextManager[None]]
CONSUMERS: tuple[Consumer, ...] = (plain, faststream)
