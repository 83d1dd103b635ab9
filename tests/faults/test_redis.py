"""Redis down, slow, forgetful, full or late: latency changes, nothing else."""

import asyncio
import random
from collections.abc import Mapping

import pytest
import redis.asyncio

from receiver.embedded import EmbeddedServers
from receiver.settings import Settings
from tests.faults.conftest import Start, settle
from tests.faults.relay import Relay
from tests.ingress.accounts import Account, Sent
from tests.ingress.inboxes import BLOCKED, locked
from tests.ingress.ledger import Ledger, until
from tests.ingress.serving import Serving

Accounts = Mapping[str, Account]
NEEDED = 2.0
"""Seconds in which an answer must be there, Redis or no Redis."""


async def timed(served: Serving, sent: Sent) -> int:
    """The status of an answer that comes in good time."""
    async with asyncio.timeout(NEEDED):
        return (await served.post(sent)).status


async def marked(ledger: Ledger) -> bool:
    """There are marks."""
    return await ledger.redis_keys() > 0


async def test_down_and_back(  # fault 9
    victims: EmbeddedServers, accounts: Accounts, ledger: Ledger, settings: Settings, start: Start
) -> None:
    stripe = accounts["stripe"]
    sent = [stripe.sent() for _ in range(6)]
    async with start() as served:
        assert await timed(served, sent[0]) == 200
        victims.valkey.kill()
        for one in (sent[1], sent[2], sent[0], sent[1]):
            assert await timed(served, one) == 200
        victims.valkey.start()

        async def again() -> bool:
            assert await timed(served, sent[3]) == 200
            return await marked(ledger)

        assert await until(again), "marks come back by themselves"
    victims.valkey.kill()
    async with start() as served:
        assert await timed(served, sent[4]) == 200, "started without Redis"
    victims.valkey.start()
    await settle(ledger, settings, [one.external_id for one in sent[:5]])


async def test_slow(accounts: Accounts, ledger: Ledger, settings: Settings, start: Start) -> None:  # fault 10
    stripe = accounts["stripe"]
    sent = [stripe.sent() for _ in range(20)]
    async with start() as served, redis.asyncio.Redis.from_url(ledger.redis_url) as client:
        assert await timed(served, sent[0]) == 200
        await client.client_pause(3000)  # longer than anybody is given here
        assert set(await asyncio.gather(*(timed(served, one) for one in [*sent, *sent]))) == {200}
    await settle(ledger, settings, [one.external_id for one in sent])


@pytest.mark.parametrize("fault", ["late", "lost", "cut"])
async def test_a_reply_that_is_late_or_lost(  # fault 11
    accounts: Accounts, ledger: Ledger, settings: Settings, start: Start, fault: str
) -> None:
    """Least of all is the late answer to one question taken for that to the next."""
    stripe = accounts["stripe"]
    known, *fresh = (stripe.sent() for _ in range(12))
    async with Relay(ledger.redis_url) as relay, start(redis_url=relay.url) as served:
        assert await timed(served, known) == 200
        assert await until(lambda: marked(ledger))
        relay.delay, relay.losing = (0.4, False) if fault == "late" else (0.0, fault == "lost")
        async with locked(ledger.database_url):
            waiting = [asyncio.create_task(served.post(known)), asyncio.create_task(served.post(fresh[0]))]
            await ledger.until(BLOCKED)
            waiting += [asyncio.create_task(served.post(one)) for one in (known, *fresh[1:])]
            if fault == "cut":
                relay.cut()
            await asyncio.wait(waiting, timeout=0.6)
        assert {(await task).status for task in waiting} == {200}
        relay.delay, relay.losing = 0.0, False
        assert await timed(served, known) == 200
    await settle(ledger, settings, [one.external_id for one in (known, *fresh)])
    assert len(await ledger.stored()) == 12


async def test_flushed_in_a_loop(accounts: Accounts, ledger: Ledger, settings: Settings, start: Start) -> None:  # 12
    sent = [accounts[name].sent() for name in accounts for _ in range(40)]
    copies = sent * 4
    random.Random(12).shuffle(copies)
    async with start() as served, redis.asyncio.Redis.from_url(ledger.redis_url) as client:
        over = asyncio.Event()

        async def forget() -> None:
            while not over.is_set():
                await client.flushall()

        forgetting = asyncio.create_task(forget())
        for place in range(0, len(copies), 64):
            replies = await asyncio.gather(*(served.post(one) for one in copies[place : place + 64]))
            assert {reply.status for reply in replies} <= {200, 204}
        over.set()
        await forgetting
    assert await ledger.stored() == {one.external_id: 1 for one in sent}
    await settle(ledger, settings, [one.external_id for one in sent])


async def fill(client: "redis.asyncio.Redis") -> None:
    """Set until it is refused: what the pipeline before took is free again."""
    for number in range(30_000):
        await client.set(f"another:{number}", b"x" * 100, ex=600)


@pytest.mark.parametrize("policy", ["volatile-lru", "noeviction"])
async def test_full(  # faults 14 and 15
    accounts: Accounts, ledger: Ledger, settings: Settings, start: Start, policy: str
) -> None:
    stripe = accounts["stripe"]
    sent = [stripe.sent() for _ in range(60)]
    async with start() as served, redis.asyncio.Redis.from_url(ledger.redis_url) as client:
        assert {await timed(served, one) for one in sent[:20]} == {200}
        await client.config_set("maxmemory", "3mb")
        await client.config_set("maxmemory-policy", policy)
        pipeline = client.pipeline(transaction=False)
        for number in range(30_000):
            pipeline.set(f"junk:{number}", b"x" * 100, ex=600)
        await pipeline.execute(raise_on_error=False)
        statuses = await asyncio.gather(*(timed(served, one) for one in sent * 2))
        assert set(statuses) == {200}
        evicted = (await client.info())["evicted_keys"]
        if policy == "noeviction":
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                await fill(client)
    assert (evicted > 0) is (policy == "volatile-lru")
    await settle(ledger, settings, [one.external_id for one in sent])
    assert len(await ledger.stored()) == 60
