"""Issued tokens over HTTP: one request of all that bring one, refusals by name, and given back after a failure."""

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import pytest
import redis.asyncio

from receiver.tokens import TokenSigner
from tests.idempotency.conftest import KEY, Api, issued
from tests.idempotency.merchant import COUNT
from tests.ingress.ledger import Ledger

HEADER: Final = "Idempotency-Token"


async def order(
    client: httpx.AsyncClient, token: str | None, *, path: str = "/orders", fail: str = ""
) -> httpx.Response:
    headers = {} if token is None else {HEADER: token}
    return await client.post(path, json={"fail": fail}, headers=headers)


def reason(reply: httpx.Response) -> tuple[int, str]:
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["cache-control"] == "no-store"
    told = reply.json()
    assert told["status"] == reply.status_code
    assert told["type"] == "urn:receiver:problem:" + told["reason"]
    return reply.status_code, told["reason"]


async def forget(ledger: Ledger) -> None:
    async with redis.asyncio.Redis.from_url(ledger.redis_url) as client:
        await client.flushdb()


@pytest.mark.parametrize("path", ["/orders", "/decorated"])
async def test_of_many_that_bring_one_token_one_goes_on(api: Api, ledger: Ledger, path: str) -> None:
    async with api() as client:
        token = await issued(client)
        replies = await asyncio.gather(*(order(client, token, path=path) for _ in range(100)))
        late = await order(client, token, path=path)
    assert sorted(reply.status_code for reply in replies) == [201] + [409] * 99
    assert {reason(reply) for reply in (*replies, late) if reply.status_code != 201} == {(409, "token_repeated")}
    assert "retry-after" not in late.headers
    assert await ledger.value(COUNT) == 1


async def foreign(client: httpx.AsyncClient) -> str:
    token = await issued(client)
    return token[:20] + ("A" if token[20] != "A" else "B") + token[21:]


async def of_another_scope(client: httpx.AsyncClient) -> str:
    return await issued(client, "refunds")


async def expired(_client: httpx.AsyncClient) -> str:
    return TokenSigner([KEY.encode()]).issue("orders", int(time.time()))[0]


async def never_stored(_client: httpx.AsyncClient) -> str:
    return TokenSigner([KEY.encode()]).issue("orders", int(time.time()) + 60)[0]


REFUSED: Final[dict[str, tuple[Callable[[httpx.AsyncClient], Awaitable[str]], int, str]]] = {
    "forged": (foreign, 422, "token_foreign"),
    "another scope": (of_another_scope, 422, "token_foreign"),
    "expired": (expired, 410, "token_expired"),
    "lost": (never_stored, 410, "token_unknown"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_says_why(api: Api, ledger: Ledger, case: str) -> None:
    make, status, named = REFUSED[case]
    async with api() as client:
        assert reason(await order(client, await make(client))) == (status, named)
    assert await ledger.value(COUNT) == 0


@pytest.mark.parametrize("path", ["/orders", "/decorated", "/plain", "/listed"])
async def test_no_token(api: Api, path: str) -> None:
    async with api() as client:
        assert reason(await order(client, None, path=path)) == (400, "token_missing")
        assert reason(await client.post(path, json={}, headers={HEADER: "", "X-Once": ""})) == (400, "token_missing")


async def test_two_tokens_cannot_both_be_meant(api: Api) -> None:
    async with api() as client:
        first, second = await issued(client), await issued(client)
        reply = await client.post("/orders", json={}, headers=[(HEADER, first), (HEADER, second)])
        assert reason(reply) == (422, "token_foreign")
        assert (await order(client, first)).status_code == 201
        doubled = await client.post("/orders", json={}, headers=[(HEADER, second), (HEADER, second)])
        assert doubled.status_code == 201


async def test_forms_of_the_guard(api: Api) -> None:
    async with api() as client:
        once = {"X-Once": await issued(client)}
        assert (await client.post("/plain", json={}, headers=once)).status_code == 201
        assert reason(await client.post("/plain", json={}, headers=once)) == (409, "token_repeated")
        listed = await issued(client, "listed")
        assert (await order(client, listed, path="/listed")).status_code == 201
        assert reason(await order(client, listed, path="/listed")) == (409, "token_repeated")


async def test_token_of_a_request_that_failed_is_free_again_for_as_long_as_it_was(api: Api, ledger: Ledger) -> None:
    async with api() as client:
        token = await issued(client, ttl=300)
        assert (await order(client, token, fail="before")).status_code == 500
        async with redis.asyncio.Redis.from_url(ledger.redis_url) as store:
            (name,) = await store.keys("receiver:token:*")
            assert repr(name).endswith(":free'")
            assert 300_000 < await store.pttl(name) <= 360_000
        assert (await order(client, token)).status_code == 201
    assert await ledger.value(COUNT) == 1


async def test_body_that_the_route_refuses_does_not_cost_the_token(api: Api) -> None:
    async with api() as client:
        token = await issued(client)
        wrong = await client.post("/orders", json={"fail": "nonsense"}, headers={HEADER: token})
        assert wrong.status_code == 422
        assert (await order(client, token)).status_code == 201


async def test_token_that_was_given_back_after_its_commit_has_no_second_effect(api: Api, ledger: Ledger) -> None:
    async with api() as client:
        token = await issued(client)
        assert (await order(client, token, fail="after")).status_code == 500
        assert reason(await order(client, token)) == (409, "token_repeated")
        assert "retry-after" not in (await order(client, token)).headers  # it is used up by now, not running
    assert await ledger.value(COUNT) == 1


async def test_redis_without_its_data_refuses_or_leaves_it_to_the_unique_key(api: Api, ledger: Ledger) -> None:
    async with api() as client:
        used, fresh = await issued(client), await issued(client)
        assert (await order(client, used)).status_code == 201
        await forget(ledger)
        assert reason(await order(client, fresh)) == (410, "token_unknown")
    async with api(token_without_redis="accept") as client:
        replies = await asyncio.gather(*(order(client, fresh) for _ in range(20)))
        assert sorted(reply.status_code for reply in replies) == [201] + [409] * 19
        assert reason(await order(client, used)) == (409, "token_repeated")
    assert await ledger.value(COUNT) == 2


@pytest.mark.parametrize("accept", [False, True])
async def test_no_redis(api: Api, ledger: Ledger, *, accept: bool) -> None:
    async with api() as client:
        token = await issued(client)
    setting = {"redis_url": "redis://127.0.0.1:1/0", "token_without_redis": "accept" if accept else "refuse"}
    async with api(**setting) as client:
        reply = await order(client, token)
        assert reason(await client.post("/tokens", json={"scope": "orders"})) == (503, "token_store_unavailable")
        if accept:
            assert reply.status_code == 201
            assert reason(await order(client, token)) == (409, "token_repeated")
        else:
            assert reason(reply) == (503, "token_store_unavailable")
            assert reply.headers["retry-after"] == "5"
    assert await ledger.value(COUNT) == int(accept)


async def test_tokens_are_issued_as_asked(api: Api) -> None:
    async with api() as client:
        reply = await client.post("/tokens", json={"scope": "orders", "ttl": 60, "count": 3})
    assert reply.status_code == 201
    told = reply.json()
    assert len(set(told["tokens"])) == 3
    left = dt.datetime.fromisoformat(told["expires_at"]) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(seconds=55) < left <= dt.timedelta(seconds=60)
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "array"),
        (b"{}", "scope"),
        (b'{"scope": ""}', "$.scope"),
        (b'{"scope": "a\\u0000"}', "$.scope"),
        (b'{"scope": "%s"}' % (b"a" * 181), "$.scope"),
        (b'{"scope": "a", "ttl": 0}', "$.ttl"),
        (b'{"scope": "a", "ttl": 86401}', "ttl"),
        (b'{"scope": "a", "ttl": 1e400}', "ttl"),
        (b'{"scope": "a", "count": 0}', "$.count"),
        (b'{"scope": "a", "count": 101}', "count"),
        (b'{"scope": "a", "counts": 1}', "counts"),
        (b'{"scope": "\xff"}', "0xff"),
        (b" " * 5000, "longer than 4096 bytes"),
    ],
)
async def test_what_asks_for_tokens_badly_is_told_what_is_wrong(api: Api, body: bytes, named: str) -> None:
    async with api() as client:
        reply = await client.post("/tokens", content=body)
    assert reason(reply) == (422, "token_request")
    assert named in reply.json()["detail"]


async def test_who_may_not_have_tokens_gets_what_the_merchant_says(api: Api) -> None:
    async with api() as client:
        reply = await client.post("/tokens", json={"scope": "orders"}, headers={"X-Caller": "stranger"})
    assert reply.status_code == 401


async def test_each_caller_has_a_rate_of_its_own(api: Api) -> None:
    async with api(token_rate=5) as client:
        asked = {"scope": "orders", "count": 3}
        first, second = {"X-Caller": "a"}, {"X-Caller": "b"}
        assert (await client.post("/tokens", json=asked, headers=first)).status_code == 201
        refused = await client.post("/tokens", json=asked, headers=first)
        assert reason(refused) == (429, "token_rate")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert (await client.post("/tokens", json={"scope": "orders", "count": 2}, headers=first)).status_code == 201
        assert (await client.post("/tokens", json=asked, headers=second)).status_code == 201
        assert (await client.post("/tokens", json=asked)).status_code == 201
