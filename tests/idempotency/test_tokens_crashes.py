"""A server is killed at each point of a token's use: the lease ends, the token comes back, and no effect is doubled."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.idempotency.conftest import issued
from tests.idempotency.merchant import COUNT
from tests.idempotency.programs import LEASE, merchant
from tests.ingress.ledger import Ledger, until

POINTS = {
    "token_after_take": (0, 201),
    "route_before_commit": (0, 201),
    "route_after_commit": (1, 409),
    "token_before_settling": (1, 409),
    "token_after_settling": (1, 409),
}
"""Effects when the server is dead, and what a second try is answered once the lease is over."""


@pytest.mark.parametrize("point", POINTS)
async def test_killed(ledger: Ledger, tmp_path: Path, point: str) -> None:
    effects, second = POINTS[point]
    async with merchant(ledger, tmp_path) as alive, merchant(ledger, tmp_path, failpoint=point) as victim:
        token = {"Idempotency-Token": await issued(alive)}
        with pytest.raises(httpx.TransportError):
            await victim.post("/orders", json={}, headers=token)
        assert await ledger.value(COUNT) == effects
        held = await alive.post("/orders", json={}, headers=token)
        if point == "token_after_settling":
            assert "retry-after" not in held.headers  # used up
        else:
            assert held.headers["retry-after"] == "1"
        assert (held.status_code, held.json()["reason"]) == (409, "token_repeated")

        async def decided() -> bool:
            again = await alive.post("/orders", json={}, headers=token)
            return "retry-after" not in again.headers and again.status_code == second

        assert await until(decided, 10 * LEASE)
        tries = [alive.post("/orders", json={}, headers=token) for _ in range(10)]
        assert {reply.status_code for reply in await asyncio.gather(*tries)} == {409}
    assert await ledger.value(COUNT) == 1


async def test_lease_of_one_that_lives_does_not_end(ledger: Ledger, tmp_path: Path) -> None:
    """However long it takes: here four leases, during which Redis is asked again and again."""
    async with merchant(ledger, tmp_path) as alive:
        token = {"Idempotency-Token": await issued(alive)}
        slow = asyncio.create_task(alive.post("/slow", json={"seconds": 4 * LEASE}, headers=token))

        async def taken() -> bool:
            return any(name.endswith(b":claim") for name in await ledger.marks())

        assert await until(taken)
        refused = 0
        while not slow.done():
            reply = await alive.post("/orders", json={}, headers=token)
            if reply.status_code == 201:
                break
            refused += reply.status_code == 409
            await asyncio.sleep(0.05)
        assert (await slow).status_code == 201
    assert refused > 10
    assert await ledger.value(COUNT) == 0
