"""The receiver inside somebody's own FastAPI."""

import importlib
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop/payments/")


@pytest.mark.anyio
async def test_handlers_run_in_the_same_process(tables: Any, send: Any, entries: Any) -> None:
    await tables()
    app: FastAPI = importlib.import_module("in_your_fastapi").app
    async with app.router.lifespan_context(app), client(app) as provider:
        for what in ("paid", "refunded"):
            assert [await send(provider, "webhooks", what) for _ in range(3)] == [204, 204, 204]
        assert await entries(2) == [("webhooks", "paid"), ("webhooks", "refunded")]
        assert (await provider.get("http://shop/orders")).json() == []
        assert (await provider.post("callbacks/stripe", content=b"{}")).status_code == 401


@pytest.mark.anyio
async def test_handlers_may_be_left_to_a_worker(in_shop: Any, send: Any) -> None:
    receiver = importlib.import_module("payments").receiver
    app = FastAPI(lifespan=lambda app: receiver.lifespan(app, work=False))
    app.mount("/payments", receiver)
    async with app.router.lifespan_context(app), client(app) as provider:
        assert await send(provider, "alipay", "paid") == 200
    connection = await asyncpg.connect(in_shop.database_url)
    try:
        assert await connection.fetchval("SELECT state FROM receiver.dispatch") == "ready"
    finally:
        await connection.close()
