"""While most callbacks are repeats, Redis answers for Postgres; and where it does not answer, nothing waits for it."""

import asyncio
import random

import pytest
import redis
from redis.asyncio import Redis

from receiver.inbox import Inbox, Outcome
from tests.ingress.conftest import Start
from tests.ingress.inboxes import BLOCKED, arrival, locked, submit, submitted
from tests.ingress.ledger import Ledger, until

ENOUGH = 200
"""Repeats after which they count as the rule."""


async def warmed(inbox: Inbox, ledger: Ledger) -> None:
    """Store `known`, wait for its mark, and repeat it until repeats are the rule."""
    assert await submit(inbox, [arrival("known")]) is Outcome.STORED

    async def marked() -> bool:
        return await ledger.redis_keys() > 0

    assert await until(marked)
    assert {await submit(inbox, [arrival("known")]) for _ in range(ENOUGH)} == {Outcome.DUPLICATE}


async def paused(ledger: Ledger) -> None:
    """Redis takes commands for a while and answers none."""
    async with Redis.from_url(ledger.redis_url) as client:
        await client.client_pause(3_000)


async def test_repeats_need_no_postgres(ledger: Ledger, start: Start) -> None:
    async with start() as served:
        assert served.inbox is not None
        await warmed(served.inbox, ledger)
        async with locked(ledger.database_url):
            repeated = submit(served.inbox, [arrival("known")])
            assert await asyncio.wait_for(repeated, 2) is Outcome.DUPLICATE, "Postgres, which is locked, was waited for"
        assert await submit(served.inbox, [arrival("new")]) is Outcome.STORED


async def test_postgres_is_heard_all_the_same(ledger: Ledger, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many repeats there are, a Postgres that was not heard for a while is asked."""
    async with start() as served:
        assert served.inbox is not None
        await warmed(served.inbox, ledger)
        monkeypatch.setattr("receiver.inbox.inbox._FRESH_SECONDS", 0.0)
        async with locked(ledger.database_url):
            repeated = submitted(served.inbox, [arrival("known")])
            await ledger.until(BLOCKED)
            assert not repeated.done()
        assert await repeated is Outcome.DUPLICATE


async def test_a_callback_is_known_only_if_all_its_facts_are(ledger: Ledger, start: Start) -> None:
    async with start() as served:
        assert served.inbox is not None
        await warmed(served.inbox, ledger)
        for name in ("beside", "before"):
            rows = [arrival("known"), arrival(name)]
            random.Random(name).shuffle(rows)
            assert await submit(served.inbox, rows) is Outcome.STORED
        assert await submit(served.inbox, [arrival("known", b"g" * 16)]) is Outcome.CONFLICT
    assert await ledger.stored() == {"known": 1, "beside": 1, "before": 1}


async def test_a_silent_redis_holds_nobody(ledger: Ledger, start: Start) -> None:
    async with start(redis_timeout=10.0) as served:
        assert served.inbox is not None
        await warmed(served.inbox, ledger)
        await paused(ledger)
        new = [submitted(served.inbox, [arrival(f"new{number}")]) for number in range(5)]
        assert await asyncio.wait_for(asyncio.gather(*new), 2) == [Outcome.STORED] * 5
        assert await asyncio.wait_for(submit(served.inbox, [arrival("known")]), 2) is Outcome.DUPLICATE
        await unpaused(ledger)


async def test_what_is_held_when_the_program_ends_is_stored(ledger: Ledger, start: Start) -> None:
    async with start() as served:
        assert served.inbox is not None
        await warmed(served.inbox, ledger)
        await paused(ledger)
        last = submitted(served.inbox, [arrival("last")])
    assert await last is Outcome.STORED
    await unpaused(ledger)


async def unpaused(ledger: Ledger) -> None:
    """Redis answers again; a connection made in a pause is served, too, when it ends."""

    async def answers() -> bool:
        async with Redis.from_url(ledger.redis_url, socket_timeout=5) as client:
            try:
                await client.client_unpause()
            except redis.RedisError:
                return False
        return True

    assert await until(answers, 10)
