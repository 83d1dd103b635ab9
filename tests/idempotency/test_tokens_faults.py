"""A Redis that hangs, or whose replies are lost: answered in time, one effect, and no token burnt for long."""

import asyncio
from typing import Final

import httpx
import pytest
import redis.asyncio

from tests.faults.relay import Relay
from tests.idempotency.conftest import Api, issued
from tests.idempotency.merchant import COUNT
from tests.ingress.ledger import Ledger, until

HEADER: Final = "Idempotency-Token"
TIMEOUT: Final = 0.3
"""Seconds that Redis is waited for."""
IN_TIME: Final = 5.0
"""Seconds in which there must be an answer: Redis is asked twice for a token, and told once what became of it."""
LEASE: Final = 1.0


async def order(client: httpx.AsyncClient, token: str) -> httpx.Response:
    async with asyncio.timeout(IN_TIME):
        return await client.post("/orders", json={}, headers={HEADER: token})


async def claims(ledger: Ledger) -> list[object]:
    """Whose, and until when."""
    async with redis.asyncio.Redis.from_url(ledger.redis_url) as store:
        return [await store.get(name) for name in await store.keys("receiver:token:*:claim")]


async def claimed(ledger: Ledger) -> bool:
    return bool(await claims(ledger))


@pytest.mark.parametrize("accept", [False, True])
async def test_redis_hangs(api: Api, ledger: Ledger, *, accept: bool) -> None:
    """It has claimed the token, but nobody hears of it."""
    setting = "accept" if accept else "refuse"
    async with (
        Relay(ledger.redis_url) as relay,
        api(
            redis_url=relay.url, redis_timeout=TIMEOUT, token_lease_seconds=LEASE, token_without_redis=setting
        ) as client,
    ):
        token = await issued(client)
        relay.hold()
        first = await order(client, token)
        assert first.status_code == (201 if accept else 503)
        assert await claimed(ledger)
        relay.release()

        async def decided() -> bool:
            reply = await order(client, token)
            return "retry-after" not in reply.headers and reply.status_code == (409 if accept else 201)

        assert await until(decided, 10 * LEASE)
        assert (await order(client, token)).status_code == 409
    assert await ledger.value(COUNT) == 1


async def test_reply_to_the_claim_is_lost(api: Api, ledger: Ledger) -> None:
    """Asked once more by the same owner, Redis says that it is his: the lease does not have to end."""
    async with Relay(ledger.redis_url) as relay, api(redis_url=relay.url, redis_timeout=TIMEOUT) as client:
        token = await issued(client)
        relay.losing = True
        first = asyncio.create_task(order(client, token))
        assert await until(lambda: claimed(ledger))
        relay.losing = False
        assert (await first).status_code == 201
        again = await order(client, token)
        assert (again.status_code, "retry-after" in again.headers) == (409, False)
    assert await ledger.value(COUNT) == 1


async def test_reply_to_the_end_is_lost(api: Api, ledger: Ledger) -> None:
    """The effect is committed and the response is sent; that nobody heard of the used token changes nothing."""
    lease = {"redis_timeout": TIMEOUT, "token_lease_seconds": LEASE}
    async with Relay(ledger.redis_url) as relay, api(redis_url=relay.url, **lease) as client:
        token = await issued(client)
        running = asyncio.create_task(
            client.post("/orders", json={"seconds": LEASE}, headers={HEADER: token}, timeout=IN_TIME)
        )
        assert await until(lambda: claimed(ledger))
        begun = await claims(ledger)

        async def extended() -> bool:
            return await claims(ledger) != begun

        assert await until(extended), "the route runs"
        relay.losing = True
        assert (await running).status_code == 201
        relay.losing = False
        assert (await order(client, token)).status_code == 409
    assert await ledger.value(COUNT) == 1
