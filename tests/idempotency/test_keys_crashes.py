"""Servers of a shop with keys, as programs: killed at each point of a request, and asked by a thousand at once."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from receiver.embedded.ports import free_port
from receiver.embedded.processes import wait_for
from receiver.idempotency.keys.header import digest
from tests.conftest import Servers
from tests.databases import Databases, execute
from tests.idempotency.refunds import EFFECTS
from tests.ingress.ledger import Ledger, until

ROOT = Path(__file__).parents[2]
LEASE = 1.0
"""Seconds; short, for a server that dies is waited for."""
LONG_LEASE = 60.0
"""Seconds, for servers that stay alive and may stand still under a thousand requests."""
REQUESTS = 1_000
Said: TypeAlias = tuple[int, str | None]
COUNT = "SELECT count(*) FROM public.refund WHERE key = $1"

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


@pytest.fixture(scope="module")
def shops(servers: Servers, databases: Databases) -> Iterator[Ledger]:
    """One database for all; each test has a key of its own."""
    url = databases.make_migrated()
    execute(url, EFFECTS)
    yield Ledger(url, servers.redis_url)
    databases.give_back(url)


@pytest.fixture(scope="module")
def alive(shops: Ledger) -> Iterator[str]:
    """The address of a shop that nobody kills."""
    with program(shops) as address:
        yield address


@contextmanager
def program(ledger: Ledger, failpoint: str = "", lease: float = LEASE) -> Iterator[str]:
    """The shop as a program; its address."""
    port = free_port(0)
    command = [sys.executable, "-m", "tests.idempotency.refunds", ledger.database_url, str(port), str(lease)]
    address = f"http://127.0.0.1:{port}"
    running = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "RECEIVER_FAILPOINT": failpoint})

    def answers() -> bool:
        assert running.poll() is None
        try:
            return httpx.get(address + "/docs").status_code == 200
        except httpx.TransportError:
            return False

    try:
        assert wait_for(answers, 30)
        yield address
    finally:
        running.kill()
        running.wait()


def sent(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key, "Authorization": "a"}


async def refund(client: httpx.AsyncClient, address: str, way: str, key: str) -> Said:
    """The status, and whether it is a replay or why it is refused."""
    reply = await client.post(f"{address}/refunds/{way}", json={}, headers=sent(key))
    return reply.status_code, reply.headers.get("idempotency-replayed") or reply.json().get("reason")


async def effects(shops: Ledger, key: str) -> object:
    return await shops.value(COUNT, digest("refunds", "a", key).hex())


@pytest.mark.parametrize(("way", "point"), POINTS)
async def test_killed(shops: Ledger, alive: str, way: str, point: str) -> None:
    done, final = POINTS[way, point]
    key = f"{way}-{point}"
    async with httpx.AsyncClient(timeout=60) as client:
        with program(shops, point) as victim, pytest.raises(httpx.TransportError):
            await refund(client, victim, way, key)
        assert await effects(shops, key) == done
        seen = [await refund(client, alive, way, key)]
        if point in AT_ONCE or final == REPLAYED:
            assert seen == [final]
        else:
            assert seen == [RUNNING]

            async def decided() -> bool:
                seen.append(await refund(client, alive, way, key))
                return seen[-1] != RUNNING

            assert await until(decided, 10 * LEASE)
            assert seen[-1] == final
        after = LOST if final == LOST else REPLAYED
        assert [await refund(client, alive, way, key) for _ in range(3)] == [after] * 3
    assert await effects(shops, key) == 1


async def test_a_thousand_at_once_over_two_servers(shops: Ledger) -> None:
    limits = httpx.Limits(max_connections=REQUESTS)
    with program(shops, lease=LONG_LEASE) as first, program(shops, lease=LONG_LEASE) as second:
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            replies = await asyncio.gather(
                *(
                    client.post(f"{(first, second)[number % 2]}/refunds/bare", json={}, headers=sent("k"))
                    for number in range(REQUESTS)
                )
            )
    said = Counter(reply.status_code for reply in replies)
    assert set(said) <= {201, 409}
    assert len({reply.content for reply in replies if reply.status_code == 201}) == 1
    assert sum(reply.status_code == 201 and "idempotency-replayed" not in reply.headers for reply in replies) == 1
    assert {reply.json()["reason"] for reply in replies if reply.status_code == 409} <= {"key_running"}
    assert await effects(shops, "k") == 1
