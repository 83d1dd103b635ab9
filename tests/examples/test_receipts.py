"""The example with a receipt: the mail follows the booking, and is the same one however often it is tried."""

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from tests.examples.mail import Mail
from tests.examples.programs import program, start

SHORT = {"RECEIVER_LEASE_SECONDS": "1", "RECEIVER_POLL_SECONDS": "0.2"}
BOOKED = [("internal", "receipt"), ("stripe", "paid")]
TRIED = "SELECT count(*) > 0 FROM receiver.every_attempt WHERE handler = 'send_receipt' AND outcome = 'retry'"


async def pay(folder: Any, send: Callable[..., Awaitable[int]], times: int) -> None:
    with program(folder, "serve", "receipts:receiver", "--port", "0") as server:
        async with httpx.AsyncClient(base_url=server["url"]) as client:
            assert {await send(client, "stripe", "paid") for _ in range(times)} == {200}


async def until(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    deadline = time.monotonic() + 30
    while not await connection.fetchval(sql):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await connection.close()


@pytest.mark.anyio
async def test_one_receipt_for_one_payment(in_shop: Any, send: Any, entries: Any, tables: Any, mail: Mail) -> None:
    await tables()
    await pay(in_shop.folder, send, 3)
    with program(in_shop.folder, "work", "receipts:receiver", more={"MAIL_URL": mail.url}):
        assert await entries(2) == BOOKED
    assert len(mail.keys) == 1
    receipt = json.loads(mail.bodies[0])
    assert (receipt["order"], receipt["currency"], type(receipt["amount"])) == ("order1", "EUR", int)


@pytest.mark.anyio
async def test_worker_that_dies_after_the_call_sends_the_same_key_again(
    in_shop: Any, send: Any, entries: Any, tables: Any, mail: Mail
) -> None:
    folder, more = in_shop.folder, SHORT | {"MAIL_URL": mail.url}
    await tables()
    await pay(folder, send, 1)
    mail.status = 503
    with program(folder, "work", "receipts:receiver", more=more):
        await until(in_shop.database_url, TRIED)
    refused = len(mail.keys)
    assert refused > 0
    mail.status = 204
    with start(folder, ("work", "receipts:receiver"), more | {"RECEIVER_FAILPOINT": "worker_before_commit"}) as worker:
        assert worker.wait(30) == -signal.SIGKILL
    assert len(mail.keys) == refused + 1, "it died between its call and its commit"
    with program(folder, "work", "receipts:receiver", more=more):
        assert await entries(2) == BOOKED
    assert len(mail.keys) == refused + 2
    assert len(set(mail.keys)) == 1
    assert len(set(mail.bodies)) == 1
