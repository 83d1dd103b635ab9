"""A service that calls again, a proxy that repeats by itself: for real, over several servers, with one effect."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.databases import execute
from tests.idempotency import refunds as shop
from tests.idempotency.conftest import issued
from tests.idempotency.merchant import COUNT, EFFECTS
from tests.idempotency.programs import merchant, proxied, refunds
from tests.ingress.ledger import Ledger

REFUNDS = "SELECT count(*) FROM public.refund"
KEY = {"Idempotency-Key": "k-1", "Authorization": "a"}


@pytest.fixture
def ledger(database_url: str, redis_url: str) -> Ledger:
    """With the tables of both shops."""
    execute(database_url, f"{EFFECTS};{shop.EFFECTS}")
    return Ledger(database_url, redis_url)


async def called_again(
    first: httpx.AsyncClient, second: httpx.AsyncClient, path: str, body: dict[str, object], headers: dict[str, str]
) -> list[int]:
    """The answers to a client that waits for too short a time, and then asks another server until that has decided."""
    with pytest.raises(httpx.ReadTimeout):
        await first.post(path, json=body, headers=headers, timeout=0.5)
    said: list[int] = []
    async with asyncio.timeout(30):
        while True:
            reply = await second.post(path, json=body, headers=headers)
            said.append(reply.status_code)
            if "retry-after" not in reply.headers:
                return said
            await asyncio.sleep(0.1)


async def test_a_call_that_timed_out_is_made_again_with_its_token(ledger: Ledger, tmp_path: Path) -> None:
    async with merchant(ledger, tmp_path) as first, merchant(ledger, tmp_path) as second:
        token = {"Idempotency-Token": await issued(first)}
        said = await called_again(first, second, "/orders", {"seconds": 3}, token)
    assert len(said) > 2, "the first was still running"
    assert set(said) == {409}
    assert await ledger.value(COUNT) == 1


async def test_a_call_that_timed_out_is_made_again_with_its_key(ledger: Ledger) -> None:
    async with refunds(ledger) as first, refunds(ledger) as second:
        said = await called_again(first, second, "/refunds/both", {"fail": "sleep 3"}, KEY)
    assert len(said) > 2, "the first was still running"
    assert (set(said[:-1]), said[-1]) == ({409}, 201)
    assert await ledger.value(REFUNDS) == 1


@pytest.mark.parametrize(("failpoint", "status"), [("route_before_commit", 201), ("route_after_commit", 409)])
async def test_a_proxy_repeats_a_request_with_its_token(
    ledger: Ledger, tmp_path: Path, failpoint: str, status: int
) -> None:
    """The first server dies; nginx sends the request to the second within milliseconds, before the lease is over."""
    async with (
        merchant(ledger, tmp_path, failpoint=failpoint) as victim,
        merchant(ledger, tmp_path) as alive,
        proxied(tmp_path, victim, alive) as proxy,
    ):
        token = {"Idempotency-Token": await issued(proxy)}
        reply = await proxy.post("/orders", json={}, headers=token)
        assert (reply.status_code, reply.json()["reason"]) == (409, "token_repeated")
        while "retry-after" in reply.headers:
            await asyncio.sleep(0.1)
            reply = await proxy.post("/orders", json={}, headers=token)
    assert reply.status_code == status
    assert await ledger.value(COUNT) == 1


async def test_a_proxy_repeats_a_request_with_its_key(ledger: Ledger, tmp_path: Path) -> None:
    """The first server dies behind its commit, which holds the response: the second one has it."""
    async with (
        refunds(ledger, failpoint="route_after_commit") as victim,
        refunds(ledger) as alive,
        proxied(tmp_path, victim, alive) as proxy,
    ):
        reply = await proxy.post("/refunds/both", json={}, headers=KEY)
    assert (reply.status_code, reply.headers["idempotency-replayed"]) == (201, "true")
    assert await ledger.value(REFUNDS) == 1


async def test_without_a_guard_the_proxy_doubles_the_effect(ledger: Ledger, tmp_path: Path) -> None:
    """What the guards are for: so that the tests above can fail."""
    async with (
        merchant(ledger, tmp_path, failpoint="route_after_commit") as victim,
        merchant(ledger, tmp_path) as alive,
        proxied(tmp_path, victim, alive) as proxy,
    ):
        assert (await proxy.post("/bare", json={})).status_code == 201
    assert await ledger.value(COUNT) == 2
