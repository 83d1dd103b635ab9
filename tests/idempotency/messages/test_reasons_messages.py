"""A message is consumed twice, for each of the reasons why that happens, and has one effect."""

from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from tests.idempotency.messages.conftest import Start, kill
from tests.idempotency.messages.consumers import CONSUMERS, Consumer
from tests.idempotency.messages.streams import ACK_WAIT, EFFECT, Stream, until

Sessions = async_sessionmaker[AsyncSession]
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


@pytest.mark.parametrize("how", ["plain", "faststream"])
async def test_its_consumer_was_killed_between_commit_and_acknowledgement(
    stream: Stream, start: Start, how: str
) -> None:
    await stream.subscribe(ACK_WAIT)
    await stream.publish("a")
    first = start(how, "hang")
    assert first.stdout is not None
    assert first.stdout.readline() == "committed\n"
    kill(first)
    assert not await stream.settled()
    start(how)
    await stream.until_settled()
    assert await stream.rows("delivery") == ["a", "a"]
    assert await stream.rows() == ["a"]


@pytest.mark.parametrize("consumer", CONSUMERS)
async def test_it_took_longer_than_the_broker_waits_and_another_consumer_got_it(
    stream: Stream, sessions: Sessions, consumer: Consumer
) -> None:
    runs = []

    async def another_one_waits() -> bool:
        async with sessions() as tx:
            return bool((await tx.execute(WAITING)).scalar_one())

    async def handle(message: str, tx: AsyncSession) -> None:
        runs.append(message)
        await tx.execute(EFFECT, {"message": message})
        await until(another_one_waits)

    await stream.subscribe(ACK_WAIT)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(consumer(stream, sessions, handle))
        await stream.publish("a")
        await stream.until_settled()
    assert runs == await stream.rows() == ["a"]


@pytest.mark.parametrize("consumer", CONSUMERS)
async def test_its_publisher_sent_it_again_when_the_broker_had_forgotten_it(
    stream: Stream, sessions: Sessions, consumer: Consumer
) -> None:
    async def handle(message: str, tx: AsyncSession) -> None:
        await tx.execute(EFFECT, {"message": message})

    await stream.subscribe()
    async with consumer(stream, sessions, handle):
        await stream.publish("a", message_id="order 1")
        await stream.until_stored_again("a", message_id="order 1")
        await stream.until_settled()
    assert (await stream.jetstream.stream_info(stream.name)).state.messages == 2
    assert await stream.rows() == ["a"]
