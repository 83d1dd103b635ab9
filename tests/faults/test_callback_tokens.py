"""Postgres silent, cut off or locked while a token is used: 503 in time, and the token is not used."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from receiver.settings import made
from receiver.tokens import CALLBACK, TokenSigner
from tests.faults.conftest import Start
from tests.faults.relay import Relay
from tests.ingress.accounts import Sent
from tests.ingress.inboxes import BLOCKED, locked
from tests.ingress.ledger import Ledger, until
from tests.ingress.serving import Serving

KEY: Final = "a key for the tokens of these tests, made up"
SOURCES: Final = {"mollie": {"provider": "mollie", "verification": "none", "token": "url"}}
NEEDED: Final = 5.0
"""Seconds in which an answer must be there."""


def token() -> str:
    return TokenSigner([KEY.encode()], CALLBACK).issue("mollie", int(time.time()) + 600)[0]


def callback(payment: str, with_token: str) -> Sent:
    return Sent(f"/callbacks/mollie/{with_token}", (), b"id=" + payment.encode())


async def answer(served: Serving, sent: Sent) -> str | int:
    """The reason of a refusal, else the status."""
    async with asyncio.timeout(NEEDED):
        reply = await served.post(sent)
    return str(json.loads(reply.body)["reason"]) if reply.status >= 400 else reply.status


async def check(served: Serving, ledger: Ledger, mine: str) -> None:
    """Well again: the token is used once, for whoever comes first, and opens nothing else."""

    async def taken() -> bool:
        return await answer(served, callback("tr_2", mine)) == 200

    assert await ledger.stored() == {}
    assert await ledger.value("SELECT count(*) FROM receiver.callback_token") == 0
    assert await until(taken, NEEDED)
    assert await answer(served, callback("tr_1", mine)) == "token_repeated"


@asynccontextmanager
async def behind_relay(ledger: Ledger, start: Start) -> AsyncIterator[tuple[Relay, Serving]]:
    wanted = made(sources=SOURCES).sources
    async with (
        Relay(ledger.database_url) as relay,
        start(database_url=relay.url, sources=wanted, token_keys=[KEY]) as served,
    ):
        assert await answer(served, callback("tr_0", token())) == 200
        for table in ("dedup_key", "event", "callback_token"):
            await ledger.query(f"DELETE FROM receiver.{table}")
        yield relay, served


async def test_silent(ledger: Ledger, start: Start) -> None:
    mine = token()
    async with behind_relay(ledger, start) as (relay, served):
        relay.hold()
        assert await answer(served, callback("tr_1", mine)) == "outcome_unknown"
        relay.cut()
        relay.release()
        await check(served, ledger, mine)


async def test_silent_in_the_middle(ledger: Ledger, start: Start) -> None:
    """The token is used and the event is not stored; nobody will ever hear what became of the statement."""
    mine = token()
    async with behind_relay(ledger, start) as (relay, served):
        async with locked(ledger.database_url, "event"):
            asking = asyncio.create_task(answer(served, callback("tr_1", mine)))
            await ledger.until(BLOCKED)
            relay.hold()
            assert await asking == "outcome_unknown"
            relay.cut()
            relay.release()
        await check(served, ledger, mine)


async def test_cut_in_the_middle(ledger: Ledger, start: Start) -> None:
    mine = token()
    async with behind_relay(ledger, start) as (relay, served):
        async with locked(ledger.database_url, "event"):
            asking = asyncio.create_task(answer(served, callback("tr_1", mine)))
            await ledger.until(BLOCKED)
            relay.cut()
            assert await asking == "outcome_unknown"
        await check(served, ledger, mine)


async def test_locked(ledger: Ledger, start: Start) -> None:
    """Postgres gives up waiting, and the same session is well afterwards."""
    mine = token()
    wanted = made(sources=SOURCES).sources
    async with start(sources=wanted, token_keys=[KEY], answer_deadline=4.0) as served:
        for table in ("event", "callback_token"):
            async with locked(ledger.database_url, table):
                assert await answer(served, callback("tr_1", mine)) == "store_unavailable"
        await check(served, ledger, mine)
