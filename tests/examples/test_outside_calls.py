"""A handler calls the outside, and its worker dies before the commit: the same key is sent again."""

import signal
from typing import Any

import httpx
import pytest

from tests.examples.mail import Mail
from tests.examples.programs import program, start

RECEIPTS = """
import httpx
from sqlalchemy import text
from receiver import Receiver

receiver = Receiver()


@receiver.on("stripe", "payment_intent.succeeded")
def send_receipt(event, tx):
    httpx.post("URL", headers={"Idempotency-Key": event.idempotency_key("receipt")}).raise_for_status()
    tx.execute(
        text("INSERT INTO shop.ledger (event_id, entity_id, entry) VALUES (:id, :entity, 'receipt')"),
        {"id": event.id, "entity": event.entity_id},
    )
"""


@pytest.mark.anyio
async def test_the_same_key_is_sent_again(in_shop: Any, send: Any, entries: Any, tables: Any, mail: Mail) -> None:
    folder = in_shop.folder
    (folder / "receipts.py").write_text(RECEIPTS.replace("URL", mail.url))
    await tables()
    short = {"RECEIVER_LEASE_SECONDS": "1"}
    with program(folder, "serve", "receipts:receiver", "--port", "0") as server:
        async with httpx.AsyncClient(base_url=server["url"]) as client:
            assert await send(client, "stripe", "paid") == 200
    with start(folder, ("work", "receipts:receiver"), short | {"RECEIVER_FAILPOINT": "worker_before_commit"}) as worker:
        assert worker.wait(30) == -signal.SIGKILL
    assert len(mail.keys) == 1
    with program(folder, "work", "receipts:receiver", more=short):
        assert await entries(1) == [("stripe", "receipt")]
    first, second = mail.keys
    assert first == second
