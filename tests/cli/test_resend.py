"""A provider calls back again and again: a whole receiver, as `receiver up` runs it, has one effect."""

import asyncio
import time
from pathlib import Path

import asyncpg
import httpx
import pytest
import redis

from receiver.sources import Signed, Source
from tests.cli.kit import Cli, Start, until
from tests.databases import execute

HANDLER = """
from sqlalchemy import text

from receiver import Receiver

receiver = Receiver()


@receiver.on("stripe", "payment_intent.succeeded")
async def mark_paid(event, tx):
    await tx.execute(text("INSERT INTO public.paid VALUES (:what)"), {"what": event.entity_id})
"""
AT_ONCE = 5


async def resent(url: str, signed: Signed) -> set[int]:
    """What so many at once are answered."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        tries = [
            client.post("/callbacks/stripe", content=signed.body, headers=list(signed.headers)) for _ in range(AT_ONCE)
        ]
        return {reply.status_code for reply in await asyncio.gather(*tries)}


async def paid(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM public.paid"))
    finally:
        await connection.close()


def test_one_effect(
    *,
    cli: Cli,
    with_sources: Path,
    sources: dict[str, Source],
    variables: dict[str, str],
    started: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At once, after the handler has run, and after Redis has lost its data; signed anew each time, as Stripe does."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    database_url = variables["RECEIVER_DATABASE_URL"]
    execute(database_url, "CREATE TABLE public.paid (what text NOT NULL)")
    (with_sources / "payments.py").write_text(HANDLER)
    arguments = ("up", "payments:receiver", "--port", "0", "--operator-port", "0", "--json")
    running = started(with_sources, *arguments, variables=variables)
    url = str(running.read_json()["url"])
    now = int(time.time())
    stripe = sources["stripe"]
    event = stripe.provider.sample("paid", external_id="evt_1", entity_id="pi_1", created=now)

    def sent(later: int) -> None:
        assert asyncio.run(resent(url, stripe.sign(event, now + later))) == {200}
        until(lambda: [row["state"] for row in cli("events", "list", "--json").rows()] == ["succeeded"])

    sent(0)
    sent(1)
    with redis.Redis.from_url(variables["RECEIVER_REDIS_URL"]) as client:
        client.flushdb()
    sent(2)
    other = stripe.provider.sample("paid", external_id="evt_2", entity_id="pi_2", created=now)
    assert asyncio.run(resent(url, stripe.sign(other, now))) == {200}
    until(lambda: len(cli("events", "list", "--state", "succeeded", "--json").rows()) == 2)
    assert running.interrupt() == 0
    assert asyncio.run(paid(database_url)) == 2, "one for each event"
