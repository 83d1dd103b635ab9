"""The examples as programs: a server and a worker, called as the four providers would."""

import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.examples.programs import environment, program


def make_tables(shop: Any) -> None:
    url = {"RECEIVER_DATABASE_URL": shop.database_url}
    subprocess.run([sys.executable, "tables.py"], cwd=shop.folder, env=environment(shop.folder) | url, check=True)


@pytest.mark.anyio
async def test_server_and_worker_book_each_payment_once(shop: Any, send: Any, entries: Any) -> None:
    make_tables(shop)
    with (
        program(shop.folder, "serve", "payments:receiver", "--port", "0") as server,
        program(shop.folder, "work", "payments:receiver"),
    ):
        async with httpx.AsyncClient(base_url=server["url"]) as client:
            # The refund comes before its payment, and everything comes twice.
            statuses = [await send(client, "webhooks", "refunded")]
            statuses += [await send(client, source, "paid") for _ in range(2) for source in shop.sources]
            statuses += [await send(client, "wechatpay", "refunded") for _ in range(2)]
        assert {*statuses} == {200, 204}
        assert await entries(6) == [
            ("alipay", "paid"),
            ("stripe", "paid"),
            ("webhooks", "paid"),
            ("webhooks", "refunded"),
            ("wechatpay", "paid"),
            ("wechatpay", "refunded"),
        ]


def test_forged_payment_is_refused(shop: Any) -> None:
    with program(shop.folder, "serve", "payments:receiver", "--port", "0") as server:
        answer = httpx.post(f"{server['url']}/callbacks/stripe", content=b"{}")
    assert (answer.status_code, answer.json()["reason"]) == (401, "signature_missing")
