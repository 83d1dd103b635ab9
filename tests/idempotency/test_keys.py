"""What a client that sends an `Idempotency-Key` hears, from a real server and a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi.openapi.utils import get_openapi

from receiver.app.listeners import Listener, bind
from tests.databases import execute
from tests.idempotency.refunds import EFFECTS, WAYS, Shop, settings_of

SECONDS = 30.0
LIMITS = httpx.Limits(max_connections=200)
Open = Callable[..., AbstractAsyncContextManager[tuple[Shop, httpx.AsyncClient]]]


@asynccontextmanager
async def opened(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    bound = bind("127.0.0.1", 0, setting="port")
    listener = Listener(shop.app, bound, grace=1)
    async with shop.app.router.lifespan_context(shop.app):
        await listener.start()
        try:
            base = f"http://127.0.0.1:{bound.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=base, timeout=SECONDS, limits=LIMITS) as client:
                yield client
        finally:
            await listener.stop()


@pytest.fixture
async def shop(database_url: str) -> Shop:
    connection = await asyncpg.connect(database_url)
    await connection.execute(EFFECTS)
    await connection.close()
    return Shop(settings_of(database_url))


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(shop) as client:
        yield client


async def value(shop: Shop, query: str) -> Any:
    connection = await asyncpg.connect(str(shop.settings.database_url))
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def effects(shop: Shop) -> int:
    return int(await value(shop, "SELECT count(*) FROM public.refund"))


async def until_running(shop: Shop, runs: int) -> None:
    async with asyncio.timeout(SECONDS):
        while shop.runs < runs:
            await value(shop, "SELECT 1")


async def refund(
    client: httpx.AsyncClient, key: str | None = "k-1", *, way: str = "once", fail: str = "", account: str = ""
) -> httpx.Response:
    headers = {"Authorization": account} | ({} if key is None else {"Idempotency-Key": key})
    return await client.post(f"/refunds/{way}", json={"fail": fail}, headers=headers)


def reason(response: httpx.Response) -> tuple[int, str]:
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == response.status_code
    assert problem["type"] == f"urn:receiver:problem:{problem['reason']}"
    return response.status_code, problem["reason"]


@pytest.mark.parametrize("way", WAYS)
async def test_the_first_response_is_replayed(shop: Shop, client: httpx.AsyncClient, way: str) -> None:
    first = await refund(client, way=way)
    again = [await refund(client, '"k-1"', way=way) for _ in range(3)]
    assert (first.status_code, first.json()) == (201, {"key": "k-1", "run": 1})
    assert "idempotency-replayed" not in first.headers
    for each in again:
        assert (each.status_code, each.content) == (201, first.content)
        assert each.headers["idempotency-replayed"] == "true"
        assert each.headers["content-length"] == first.headers["content-length"]
    assert (shop.runs, await effects(shop)) == (1, 1)


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_refusal_of_the_routes_own_is_replayed(shop: Shop, client: httpx.AsyncClient, status: int) -> None:
    answers = [await refund(client, fail=f"status {status}") for _ in range(2)]
    assert [each.status_code for each in answers] == [status, status]
    assert [each.headers.get("idempotency-replayed") for each in answers] == [None, "true"]
    assert shop.runs == 1


@pytest.mark.parametrize("status", [401, 403, 408, 409, 425, 429, 500, 503])
async def test_what_may_succeed_later_is_not(shop: Shop, client: httpx.AsyncClient, status: int) -> None:
    for _ in range(2):
        answer = await refund(client, fail=f"status {status}")
        assert answer.status_code == status
        assert "idempotency-replayed" not in answer.headers
    assert shop.runs == 2


@pytest.mark.parametrize("way", WAYS)
async def test_a_failure_before_the_commit_frees_the_key(shop: Shop, client: httpx.AsyncClient, way: str) -> None:
    assert (await refund(client, way=way, fail="before")).status_code == 500
    assert await effects(shop) == 0
    assert (await refund(client, way=way, fail="before")).status_code == 500
    assert shop.runs == 2
    assert reason(await refund(client, way=way)) == (422, "key_reused")


@pytest.mark.parametrize(
    ("way", "second", "done"),
    [
        ("bare", (500, None), 2),  # nothing in its transaction knows
        ("once", (409, "key_response_lost"), 1),
        ("answer", (201, None), 1),
        ("both", (201, None), 1),
    ],
)
async def test_a_failure_after_the_commit(
    shop: Shop, client: httpx.AsyncClient, way: str, second: tuple[int, str | None], done: int
) -> None:
    assert (await refund(client, way=way, fail="after")).status_code == 500
    for _ in range(2 if way != "bare" else 1):
        again = await refund(client, way=way, fail="after")
        assert again.status_code == second[0]
        assert second[1] is None or reason(again) == second
    assert await effects(shop) == done


async def test_another_request_under_the_same_key_is_refused(shop: Shop, client: httpx.AsyncClient) -> None:
    await refund(client)
    key = {"Idempotency-Key": "k-1", "Authorization": ""}
    others = [
        client.post("/refunds/once", json={"fail": "x"}, headers=key),
        client.post("/refunds/once?a=b", json={"fail": ""}, headers=key),
        client.post("/refunds/both", json={"fail": ""}, headers=key),
    ]
    assert [reason(await each) for each in others] == [(422, "key_reused")] * 3
    assert shop.runs == 1


async def test_another_method_under_the_same_key_is_refused(shop: Shop, client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k-1"}
    await client.post("/v1/included/plain", json={"size": 1}, headers=key)
    assert reason(await client.put("/v1/included/plain", json={"size": 1}, headers=key)) == (422, "key_reused")
    assert shop.runs == 1


async def test_each_caller_has_keys_of_its_own(client: httpx.AsyncClient) -> None:
    answers = [await refund(client, account=account) for account in ("a", "b", "", "a", "b", "")]
    assert [each.json()["run"] for each in answers] == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("path", ["/refunds/once", "/v1/included/private"])
async def test_who_may_not_call_hears_no_response_of_others(shop: Shop, client: httpx.AsyncClient, path: str) -> None:
    """Wherever the route says who may: the claim comes last."""
    answers = [
        await client.post(path, json={}, headers={"Idempotency-Key": "k", "Authorization": who})
        for who in ("a", "nobody", "a")
    ]
    assert [each.status_code // 100 for each in answers] == [2, 4, 2]
    assert answers[0].content == answers[2].content
    assert shop.runs == 1


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], "key_missing"),
        (["a", "a"], "key_malformed"),
        ([""], "key_malformed"),
        (["x" * 256], "key_malformed"),
        (["é"], "key_malformed"),
        (['"a'], "key_malformed"),
    ],
)
async def test_what_is_no_key_is_refused(shop: Shop, client: httpx.AsyncClient, keys: list[str], expected: str) -> None:
    headers = [(b"Idempotency-Key", key.encode()) for key in keys]
    assert reason(await client.post("/refunds/once", json={}, headers=headers)) == (400, expected)
    assert shop.runs == 0


async def test_a_key_that_is_not_required_may_be_left_out(shop: Shop, client: httpx.AsyncClient) -> None:
    answers = [await client.post("/v1/included/plain", json={"size": 1}) for _ in range(2)]
    assert [each.headers["x-key"] for each in answers] == ["", ""]
    assert (await client.post("/v1/included/plain", json={"size": 1}, headers={"Idempotency-Key": "k"})).headers[
        "x-key"
    ] == "k"
    assert shop.runs == 3


async def test_while_it_runs_others_are_told_to_wait(shop: Shop, client: httpx.AsyncClient) -> None:
    shop.doors["wait"] = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(refund(client, fail="wait"))
        await until_running(shop, 1)
        second = await refund(client, fail="wait")
        assert reason(second) == (409, "key_running")
        assert second.headers["retry-after"] == "1"
        assert reason(await refund(client)) == (422, "key_reused")
        shop.doors["wait"].set()
    assert first.result().status_code == 201
    assert (await refund(client, fail="wait")).content == first.result().content


@pytest.mark.parametrize("way", WAYS)
async def test_of_many_at_once_one_runs(shop: Shop, client: httpx.AsyncClient, way: str) -> None:
    answers = await asyncio.gather(*(refund(client, way=way) for _ in range(100)))
    assert {each.status_code for each in answers} <= {201, 409}
    assert len({each.content for each in answers if each.status_code == 201}) == 1
    assert {reason(each)[1] for each in answers if each.status_code == 409} <= {"key_running"}
    assert (shop.runs, await effects(shop)) == (1, 1)


async def test_a_long_run_keeps_its_key(database_url: str) -> None:
    await asyncio.to_thread(execute, database_url, EFFECTS)
    shop = Shop(settings_of(database_url), lease=1.0)
    shop.doors["wait"] = asyncio.Event()
    async with opened(shop) as client, asyncio.TaskGroup() as group:
        first = group.create_task(refund(client, fail="wait"))
        await until_running(shop, 1)
        begun = await value(shop, "SELECT leased_until FROM receiver.idempotency_key")
        while await value(shop, "SELECT leased_until FROM receiver.idempotency_key") < begun + shop.lease * 2:
            assert reason(await refund(client, fail="wait")) == (409, "key_running")
        shop.doors["wait"].set()
    assert first.result().status_code == 201
    assert shop.runs == 1


@pytest.mark.parametrize("prefix", ["/v1/included", "/v2/included", "/mounted/included"])
async def test_routes_of_included_routers_and_mounted_applications_have_keys(
    shop: Shop, client: httpx.AsyncClient, prefix: str
) -> None:
    for _ in range(2):
        answer = await client.post(f"{prefix}/echo", content=b"5", headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.text) == (200, "5")
    assert shop.runs == 1


async def test_headers_of_a_moment_and_cookies_are_not_replayed(shop: Shop, client: httpx.AsyncClient) -> None:
    first, again = [
        await client.post("/v1/included/plain", json={"size": 1}, headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert first.headers["set-cookie"].startswith("session=secret")
    assert first.headers["x-kept"] == again.headers["x-kept"] == "yes"
    assert first.headers["content-type"] == again.headers["content-type"]
    assert "set-cookie" not in again.headers
    assert "then" not in again.headers.get_list("date")
    assert "secret" not in await value(shop, "SELECT headers FROM receiver.idempotency_key")


@pytest.mark.parametrize(
    ("path", "body", "length"),
    [
        ("plain", {"size": 100}, 100),
        ("plain", {"size": 101}, 101),
        ("streaming", {"parts": 2}, 100),
        ("streaming", {"parts": 40}, 2000),
    ],
)
async def test_a_response_is_kept_up_to_a_limit(
    shop: Shop, client: httpx.AsyncClient, path: str, body: dict[str, int], length: int
) -> None:
    key = {"Idempotency-Key": "k"}
    first = await client.post(f"/v1/included/{path}", json=body, headers=key)
    again = await client.post(f"/v1/included/{path}", json=body, headers=key)
    assert (first.status_code, len(first.content)) == (200, length)
    if length > 100:
        assert reason(again) == (409, "key_not_replayable")
    else:
        assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert shop.runs == 1


async def test_what_is_too_large_to_be_kept_is_sent_as_it_comes(shop: Shop, client: httpx.AsyncClient) -> None:
    shop.doors["endless"] = asyncio.Event()
    path, key = "/v1/included/endless", {"Idempotency-Key": "k"}
    async with client.stream("POST", path, headers=key) as first:
        parts = first.aiter_raw()
        assert await anext(parts) == b"x" * 101
        assert reason(await client.post(path, headers=key)) == (409, "key_not_replayable")
        shop.doors["endless"].set()
        assert b"".join([part async for part in parts]) == b"the end"
    assert shop.runs == 1


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 10):
        yield b" " * 10


@pytest.mark.parametrize("announced", [True, False])
async def test_a_request_is_read_up_to_a_limit(shop: Shop, client: httpx.AsyncClient, announced: bool) -> None:
    content = b" " * 1010 if announced else pieces(1010)
    answer = await client.post("/v1/included/plain", content=content, headers={"Idempotency-Key": "k"})
    assert reason(answer) == (413, "body_too_large")
    assert shop.runs == 0


async def test_a_response_without_content_is_replayed_before_its_background_task_ends(
    shop: Shop, client: httpx.AsyncClient
) -> None:
    shop.doors["background"] = asyncio.Event()
    key = {"Idempotency-Key": "k"}
    answers = [await client.delete("/v1/included/nothing", headers=key) for _ in range(2)]
    shop.doors["background"].set()
    assert [each.status_code for each in answers] == [204, 204]
    assert [each.headers.get("idempotency-replayed") for each in answers] == [None, "true"]
    assert shop.runs == 1


async def test_a_method_that_the_route_does_not_have_is_its_own_affair(client: httpx.AsyncClient) -> None:
    assert (await client.get("/refunds/once")).status_code == 405


async def test_without_postgresql_the_route_is_not_run() -> None:
    shop = Shop(settings_of("postgresql://nobody@127.0.0.1:9/none"))
    async with opened(shop) as client:
        answer = await refund(client)
    assert reason(answer) == (503, "key_store_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert shop.runs == 0


async def test_what_is_over_is_as_new_unless_the_transaction_knows(database_url: str) -> None:
    await asyncio.to_thread(execute, database_url, EFFECTS)
    shop = Shop(settings_of(database_url))
    async with opened(shop) as client:
        for way in ("bare", "once"):
            await refund(client, way, way=way)
        await value(shop, "UPDATE receiver.idempotency_key SET expires_at = now()")
        assert (await refund(client, "bare", way="bare")).json()["run"] == 3
        assert reason(await refund(client, "once", way="once")) == (409, "key_response_lost")


async def test_the_header_stands_in_the_schema(shop: Shop) -> None:
    paths = get_openapi(title="t", version="1", routes=shop.app.routes)["paths"]
    for path, required in (("/refunds/{way}", True), ("/v1/included/plain", False)):
        found = {each["name"]: each["required"] for each in paths[path]["post"]["parameters"]}
        assert found.pop("Idempotency-Key") is required
        assert set(found) <= {"way", "authorization"}
