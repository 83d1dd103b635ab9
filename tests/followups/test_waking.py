"""What is emitted is begun when it is committed, long before the next poll."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

import pytest
import redis.asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from receiver import Event, Receiver
from receiver.marks.marks import CHANNEL
from receiver.settings import made
from receiver.storage.emits import tell_after_commit
from receiver.storage.engine import async_url
from tests.dispatch.conftest import Shop
from tests.faults.relay import Relay

NEVER = 600.0
"""Seconds between polls: what is seen before was heard."""
SOON = 10.0
NOWHERE = "redis://127.0.0.1:9/0"
EFFECT = text("INSERT INTO effect VALUES (:id, :handler)")
Emits: TypeAlias = Callable[[Receiver, AsyncSession, str], Awaitable[None]]
HEARD = "SELECT count(*) = $1 FROM effect WHERE handler = 'hear'"


async def hear(event: Event, tx: AsyncSession) -> None:
    await tx.execute(EFFECT, {"id": event.id, "handler": event.handler})


async def listening(url: str, workers: int) -> None:
    """Wait until so many workers hear nudges."""
    deadline = time.monotonic() + SOON
    async with redis.asyncio.Redis.from_url(url) as client:
        while (await client.pubsub_numsub(CHANNEL))[0][1] < workers:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("redis_is_there", [True, False])
async def test_the_worker_that_emitted_looks_at_once(shop: Shop, redis_is_there: bool) -> None:
    receiver, quiet = Receiver(), asyncio.Event()

    @receiver.on("stripe")
    async def pay(_event: Event, tx: AsyncSession) -> None:
        await quiet.wait()
        await receiver.emit(tx, "order.paid", None, key="o_1")

    receiver.on("internal")(hear)
    await shop.deliver("pay")
    where = shop.redis_url if redis_is_there else NOWHERE
    async with shop.working(receiver.handlers, redis_url=where, poll_seconds=NEVER):
        if redis_is_there:
            await listening(shop.redis_url, 1)
        await shop.until("SELECT count(*) = 1 FROM receiver.dispatch WHERE state = 'leased'")
        quiet.set()
        await shop.until(HEARD, 1, seconds=SOON)


async def test_a_commit_whose_reply_was_lost_wakes_too(shop: Shop) -> None:
    receiver, quiet = Receiver(), asyncio.Event()
    async with Relay(shop.database_url) as relay:

        @receiver.on("stripe")
        async def pay(_event: Event, tx: AsyncSession) -> None:
            await quiet.wait()
            await receiver.emit(tx, "order.paid", None, key="o_1")
            await tx.flush()
            relay.hold()

        receiver.on("internal")(hear)
        await shop.deliver("pay")
        apart = Shop(shop._connection, relay.url, NOWHERE)
        async with apart.working(receiver.handlers, poll_seconds=NEVER):
            await shop.until("SELECT count(*) = 1 FROM receiver.dispatch WHERE state = 'leased'")
            quiet.set()
            await shop.until("SELECT count(*) = 1 FROM receiver.dispatch WHERE state = 'succeeded'")
            relay.cut()
            relay.release()
            await shop.until(HEARD, 1, seconds=SOON)
    assert apart.runs.heard == [("pay", "succeeded"), ("hear", "succeeded")]


async def test_other_workers_are_told(shop: Shop) -> None:
    receiver, elsewhere, quiet = Receiver(), Receiver(), asyncio.Event()

    async def pay(_event: Event, tx: AsyncSession) -> None:
        await quiet.wait()
        await receiver.emit(tx, "order.paid", None, key="o_1")

    paying = Receiver()
    paying.on("stripe")(pay)
    for program in (receiver, elsewhere):
        program.on("internal")(hear)
    await shop.deliver("pay")
    async with (
        shop.working(paying.handlers, poll_seconds=NEVER),
        shop.working(elsewhere.handlers, poll_seconds=NEVER),
    ):
        await listening(shop.redis_url, 2)
        await shop.until("SELECT count(*) = 1 FROM receiver.dispatch WHERE state = 'leased'")
        quiet.set()
        await shop.until(HEARD, 1, seconds=SOON)


@asynccontextmanager
async def lifespan(shop: Shop, *, work: bool) -> AsyncIterator[Receiver]:
    """The receiver in a process whose other code emits."""
    settings = made(database_url=shop.database_url, redis_url=shop.redis_url, poll_seconds=NEVER)
    receiver = Receiver(settings)
    receiver.on("internal")(hear)
    async with receiver.lifespan(work=work):
        yield receiver


async def at_once(receiver: Receiver, session: AsyncSession, key: str) -> None:
    await receiver.emit(session, "order.taken", None, key=key)


async def in_a_savepoint(receiver: Receiver, session: AsyncSession, key: str) -> None:
    async with session.begin_nested():
        await receiver.emit(session, "order.taken", None, key=key)


async def in_a_plain_function(receiver: Receiver, session: AsyncSession, key: str) -> None:
    await session.run_sync(lambda sync: receiver.emit_sync(sync, "order.taken", None, key=key))


async def take_orders(receiver: Receiver, url: str, emits: Emits, *keys: str) -> None:
    """A transaction for each, of one session."""
    engine = create_async_engine(async_url(url))
    async with AsyncSession(engine) as session:
        for key in keys:
            await emits(receiver, session, key)
            await session.commit()
    await engine.dispose()


@pytest.mark.parametrize("emits", [at_once, in_a_savepoint, in_a_plain_function])
@pytest.mark.parametrize("work", [True, False])
async def test_workers_hear_of_what_own_code_emits_beside_the_receiver(shop: Shop, work: bool, emits: Emits) -> None:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(lifespan(shop, work=work))
        if not work:
            await stack.enter_async_context(shop.working(receiver.handlers, poll_seconds=NEVER))
        await listening(shop.redis_url, 1)
        await take_orders(receiver, shop.database_url, emits, "o_1")
        await shop.until(HEARD, 1, seconds=SOON)
        await take_orders(receiver, shop.database_url, emits, "o_2", "o_3")
        await shop.until(HEARD, 3, seconds=SOON)


async def test_they_hear_of_it_from_another_thread(shop: Shop) -> None:
    async with lifespan(shop, work=True) as receiver:
        await listening(shop.redis_url, 1)
        await asyncio.to_thread(asyncio.run, take_orders(receiver, shop.database_url, at_once, "o_1"))
        await shop.until(HEARD, 1, seconds=SOON)


async def test_commit_works_when_the_receiver_has_stopped(shop: Shop, engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        async with lifespan(shop, work=False) as receiver:
            await receiver.emit(session, "order.taken", None, key="o_1")
        await session.commit()
    assert await shop.rows("SELECT state FROM receiver.dispatch") == [("ready",)]


async def test_told_after_each_commit_and_nothing_else(engine: AsyncEngine) -> None:
    told: list[int] = []

    def run(session: Session) -> list[int]:
        counts = []
        for _ in range(2):
            tell_after_commit(session, lambda: told.append(1))
        for end in (session.begin_nested().commit, session.rollback, session.commit, session.commit):
            session.execute(text("SELECT 1"))
            end()
            counts.append(len(told))
        return counts

    async with AsyncSession(engine) as session:
        assert await session.run_sync(run) == [0, 0, 1, 2]
