"""Why a token is deleted and not looked at: both ways raced by 1,000 requests at once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio

from tests.ingress.ledger import Ledger

REQUESTS = 1_000
CONNECTIONS = 100
Judge = Callable[["redis.asyncio.Redis"], Awaitable[bool]]


async def look_then_delete(client: "redis.asyncio.Redis") -> bool:
    """The usual way: is it there? Then go on."""
    if await client.get("token") is None:
        return False
    await client.delete("token")
    return True


async def delete(client: "redis.asyncio.Redis") -> bool:
    """Who deleted it goes on."""
    return bool(await client.delete("token"))


async def let_through(ledger: Ledger, judge: Judge) -> int:
    pool = redis.asyncio.BlockingConnectionPool.from_url(ledger.redis_url, max_connections=CONNECTIONS, timeout=30)
    async with redis.asyncio.Redis.from_pool(pool) as client:
        await asyncio.gather(*(client.ping() for _ in range(CONNECTIONS)))  # all connected, as in a server that runs
        await client.set("token", "1")
        return sum(await asyncio.gather(*(judge(client) for _ in range(REQUESTS))))


@pytest.mark.parametrize(("judge", "least", "most"), [(look_then_delete, 2, REQUESTS), (delete, 1, 1)])
async def test_race(ledger: Ledger, judge: Judge, least: int, most: int) -> None:
    assert least <= await let_through(ledger, judge) <= most
