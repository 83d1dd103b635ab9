"""Servers of a shop with keys, as programs: killed at each point of a request, and asked by a thousand at once."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from receiver.embedded.ports import free_port
from tests.conftest import execute
from tests.idempotency.refunds import EFFECTS
from tests.ingress.ledger import Ledger, until

ROOT = Path(__file__).parents[2]
LEASE = 1.0
REQUESTS = 1_000
KEY = {"Idempotency-Key": "k-1", "Authorization": "a"}
Said: TypeAlias = tuple[int, str | None]
COUNT = "SELECT count(*) FROM public.refund"

RUNS: Said = (201, None)
REPLAYED: Said = (201, "true")
LOST: Said = (409, "key_response_lost")
RUNNING: Said = (409, "key_running")
POINTS = {
    ("once", "key_before_claim"): (0, RUNS),
    ("once", "key_claimed"): (0, RUNS),
    ("once", "route_before_commit"): (0, RUNS),
    ("once", "route_after_commit"): (1, LOST),
    ("once", "key_before_store"): (1, LOST),
    ("once", "key_stored"): (1, REPLAYED),
    ("both", "key_claimed"): (0, RUNS),
    ("both", "route_before_commit"): (0, RUNS),
    ("both", "route_after_commit"): (1, REPLAYED),
    ("answer", "route_before_commit"): (0, RUNS),
    ("answer", "route_after_commit"): (1, REPLAYED),
}
"""Effects when the server is dead, and what the request is answered in the end."""
AT_ONCE = {"key_before_claim", "key_stored"}
"""Points with nothing to wait for."""


@pytest.fixture
def shops(database_url: str, redis_url: str) -> Ledger:
    execute(database_url, EFFECTS)
    return Ledger(database_url, redis_url)


@asynccontextmanager
async def program(ledger: Ledger, failpoint: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """The shop as a program."""
    port = free_port(0)
    command = [sys.executable, "-m", "tests.idempotency.refunds", ledger.database_url, str(port), str(LEASE)]
    env = {**os.environ, "RECEIVER_FAILPOINT": failpoint}
    running = subprocess.Popen(command, cwd=ROOT, env=env)  # noqa: ASYNC220  starting it takes a moment
    limits = httpx.Limits(max_connections=REQUESTS)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits) as client:

            async def answers() -> bool:
                assert running.poll() is None
                try:
                    return (await client.get("/docs")).status_code == 200
                except httpx.TransportError:
                    return False

            assert await until(answers, 30)
            yield client
    finally:
        running.kill()
        running.wait()


async def refund(client: httpx.AsyncClient, way: str) -> Said:
    """The status, and whether it is a replay or why it is refused."""
    reply = await client.post(f"/refunds/{way}", json={}, headers=KEY)
    return reply.status_code, reply.headers.get("idempotency-replayed") or reply.json().get("reason")


@pytest.mark.parametrize(("way", "point"), POINTS)
async def test_killed(shops: Ledger, way: str, point: str) -> None:
    effects, final = POINTS[way, point]
    async with program(shops) as alive, program(shops, point) as victim:
        with pytest.raises(httpx.TransportError):
            await refund(victim, way)
        assert await shops.value(COUNT) == effects
        first = await refund(alive, way)
        if point in AT_ONCE or final == REPLAYED:
            assert first == final
        else:
            assert first == RUNNING
            seen = [first]

            async def decided() -> bool:
                seen.append(await refund(alive, way))
                return seen[-1] != RUNNING

            assert await until(decided, 10 * LEASE)
            assert seen[-1] == final
        after = LOST if final == LOST else REPLAYED
        assert [await refund(alive, way) for _ in range(3)] == [after] * 3
    assert await shops.value(COUNT) == 1


async def test_a_thousand_at_once_over_two_servers(shops: Ledger) -> None:
    async with program(shops) as first, program(shops) as second:
        replies = await asyncio.gather(
            *((first, second)[number % 2].post("/refunds/bare", json={}, headers=KEY) for number in range(REQUESTS))
        )
    said = Counter(reply.status_code for reply in replies)
    assert set(said) <= {201, 409}
    assert len({reply.content for reply in replies if reply.status_code == 201}) == 1
    assert sum(reply.status_code == 201 and "idempotency-replayed" not in reply.headers for reply in replies) == 1
    assert {reply.json()["reason"] for reply in replies if reply.status_code == 409} <= {"key_running"}
    assert await shops.value(COUNT) == 1
