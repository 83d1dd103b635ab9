"""The worker's ear: it hears every nudge, hears again after Redis was away, and lets itself be closed."""

import asyncio
import random

import redis.asyncio

from receiver.marks import Nudges, connect
from receiver.marks.marks import CHANNEL
from tests.ingress.ledger import until


async def test_heard(redis_url: str) -> None:
    heard = asyncio.Event()
    nudges = Nudges(connect(redis_url, timeout=0.25), heard)
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        assert await until(lambda: _is_set(heard), 5), "at once, for a nudge may have been missed"
        for _ in range(3):
            heard.clear()
            assert await client.publish(CHANNEL, b"") >= 1
            assert await until(lambda: _is_set(heard), 5)
        heard.clear()
        await client.client_kill_filter(_type="pubsub")
        assert await until(lambda: _is_set(heard), 5), "subscribed again"
    await nudges.close()


async def _is_set(event: asyncio.Event) -> bool:
    return event.is_set()


async def test_closing_never_hangs(redis_url: str) -> None:
    """At any moment: while it connects, while a nudge arrives. redis-py swallows some cancellations."""
    draw = random.Random(5)

    async def open_and_close(client: "redis.asyncio.Redis") -> None:
        nudges = Nudges(connect(redis_url, timeout=0.25), asyncio.Event())
        await asyncio.sleep(draw.random() * 0.02)
        await client.publish(CHANNEL, b"")
        async with asyncio.timeout(3):
            await nudges.close()

    async with redis.asyncio.Redis.from_url(redis_url) as client:
        for _ in range(8):
            await asyncio.gather(*(open_and_close(client) for _ in range(10)))
