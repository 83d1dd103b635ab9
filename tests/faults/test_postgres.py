"""Postgres gone, cut off, locked or silent: 503 in time, never a lie, and well again by itself."""

import asyncio
import json
import os
import random
import signal
from collections.abc import Mapping
from functools import partial

import asyncpg

from receiver.embedded import EmbeddedServers
from receiver.settings import Settings
from tests.faults.conftest import Start, settle
from tests.faults.relay import Relay
from tests.ingress.accounts import Account, Sent
from tests.ingress.inboxes import BLOCKED, locked
from tests.ingress.ledger import Ledger, until
from tests.ingress.serving import Serving
from tests.ingress.wire import Reply

Accounts = Mapping[str, Account]
NEEDED = 5.0
"""Seconds in which an answer must be there: the tests' answer_deadline, and as much again for giving up."""


async def post(served: Serving, sent: Sent) -> Reply:
    """An answer in good time."""
    async with asyncio.timeout(NEEDED):
        return await served.post(sent)


def reason(reply: Reply) -> str:
    """Why to call again; such an answer always says when."""
    assert reply.status == 503
    assert reply.headers["retry-after"] == "5"
    return str(json.loads(reply.body)["reason"])


async def accepted(served: Serving, sent: Sent) -> bool:
    """Whether it is taken; if not, the answer is an honest 503."""
    reply = await post(served, sent)
    assert reply.status in {200, 204, 503}
    return reply.status != 503


async def test_restarted(  # fault 16
    victims: EmbeddedServers, accounts: Accounts, ledger: Ledger, settings: Settings, start: Start
) -> None:
    stripe = accounts["stripe"]
    before, meanwhile, after = stripe.sent(), stripe.sent(), stripe.sent()
    async with start() as served:
        assert await accepted(served, before)
        victims.postgres.stop_immediate()
        assert reason(await post(served, meanwhile)) in {"store_unavailable", "outcome_unknown"}
        assert reason(await post(served, before)) in {"store_unavailable", "outcome_unknown"}, (
            "no mark is trusted without a live connection"
        )
        victims.postgres.start()
        assert await until(lambda: accepted(served, meanwhile), 5)
        assert await accepted(served, before)
        assert await accepted(served, after)
    await settle(ledger, settings, [one.external_id for one in (before, meanwhile, after)])


async def test_quarantine_recovers_too(
    victims: EmbeddedServers, accounts: Accounts, ledger: Ledger, start: Start
) -> None:
    """Its connection was idle in a pool while the server went away: nobody told the pool."""
    stripe = accounts["stripe"]
    async with start() as served:
        assert await accepted(served, stripe.sealed(b"[]"))
        victims.postgres.stop_immediate()
        assert reason(await post(served, stripe.sealed(b"[1]"))) == "store_unavailable"
        victims.postgres.start()
        assert await until(lambda: accepted(served, stripe.sealed(b"[1]")), 5)
    assert await ledger.counts() == {"quarantine": 2}


async def test_the_tally_recovers_too(
    victims: EmbeddedServers, accounts: Accounts, ledger: Ledger, start: Start
) -> None:
    sent = accounts["stripe"].sent()
    counted = "SELECT duplicates >= $1 FROM receiver.dedup_key"
    async with start() as served:
        for _ in range(2):
            assert await accepted(served, sent)
        await ledger.until(counted, 1)
        victims.postgres.stop_immediate()
        victims.postgres.start()
        assert await until(lambda: accepted(served, sent), 5)
        await ledger.until(counted, 2, seconds=5)


async def test_a_backend_is_killed(  # fault 17
    accounts: Accounts, ledger: Ledger, settings: Settings, start: Start
) -> None:
    """SIGKILL of one makes the postmaster end them all."""
    stripe = accounts["stripe"]
    first, second = stripe.sent(), stripe.sent()
    async with start() as served:
        assert await accepted(served, first)
        pid = await ledger.value(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'receiver-ingress'"
            " AND datname = current_database() LIMIT 1"
        )
        os.kill(int(str(pid)), signal.SIGKILL)
        assert await until(lambda: accepted(served, second), 10)
    await settle(ledger, settings, [first.external_id, second.external_id])


async def test_sessions_end_at_random(  # fault 18
    accounts: Accounts, ledger: Ledger, settings: Settings, start: Start
) -> None:
    sent = [accounts[name].sent() for name in accounts for _ in range(50)]
    acknowledged: set[str] = set()
    draw = random.Random(18)
    async with start() as served:
        killer = await asyncpg.connect(ledger.database_url)

        async def end_them() -> None:
            while True:
                await killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'receiver-ingress' AND datname = current_database()"
                )
                await asyncio.sleep(draw.random() * 0.02)

        async def call_until_heard(one: Sent) -> None:
            assert await until(lambda: accepted(served, one), 30)
            acknowledged.add(one.external_id)

        killing = asyncio.create_task(end_them())
        calling = [asyncio.create_task(call_until_heard(one)) for one in [*sent, *sent]]
        await asyncio.wait(calling, timeout=2)
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        await killer.close()
        await asyncio.gather(*calling)
    await settle(ledger, settings, acknowledged)
    assert await ledger.stored() == {one.external_id: 1 for one in sent}


async def test_the_reply_to_commit_is_lost(  # fault 19
    accounts: Accounts, ledger: Ledger, settings: Settings, start: Start
) -> None:
    first, sent = accounts["stripe"].sent(), accounts["stripe"].sent()
    async with Relay(ledger.database_url) as relay, start(database_url=relay.url) as served:
        assert await accepted(served, first)
        relay.losing = True
        assert reason(await post(served, sent)) == "outcome_unknown"
        assert sent.external_id in await ledger.stored(), "it was committed all the same"
        relay.losing = False
        assert await until(lambda: accepted(served, sent), 5)
        assert await accepted(served, sent)
    await settle(ledger, settings, [first.external_id, sent.external_id])


async def test_the_network_is_cut_in_the_middle(  # fault 24
    accounts: Accounts, ledger: Ledger, settings: Settings, start: Start
) -> None:
    sent = accounts["stripe"].sent()
    async with Relay(ledger.database_url) as relay, start(database_url=relay.url) as served:
        async with locked(ledger.database_url):
            asking = asyncio.create_task(post(served, sent))
            await ledger.until(BLOCKED)
            relay.cut()
            assert reason(await asking) == "outcome_unknown"
        assert await until(lambda: accepted(served, sent), 5)
    await settle(ledger, settings, [sent.external_id])


async def test_postgres_is_silent(  # as fault 22: somebody else has all that it could answer with
    victims: EmbeddedServers, accounts: Accounts, ledger: Ledger, settings: Settings, start: Start
) -> None:
    stripe = accounts["stripe"]
    sent = [stripe.sent() for _ in range(5)]
    async with start() as served:
        assert await accepted(served, sent[0])
        victims.postgres.freeze()
        try:
            replies = await asyncio.gather(*(post(served, one) for one in sent[1:]))
            odd = await post(served, stripe.sealed(b"[]"))
        finally:
            victims.postgres.thaw()
        assert {reason(reply) for reply in [*replies, odd]} <= {"outcome_unknown", "store_unavailable", "overloaded"}
        for one in sent:
            assert await until(partial(accepted, served, one), 5)
    await settle(ledger, settings, [one.external_id for one in sent])


async def test_a_locked_table(  # fault 23
    accounts: Accounts, ledger: Ledger, settings: Settings, start: Start
) -> None:
    """Postgres itself gives up waiting before our deadline: then nothing was stored, for certain."""
    sent = accounts["stripe"].sent()
    async with start(answer_deadline=4.0) as served:
        async with locked(ledger.database_url):
            assert reason(await post(served, sent)) == "store_unavailable"
        assert await ledger.stored() == {}
        assert await accepted(served, sent)
    await settle(ledger, settings, [sent.external_id])
