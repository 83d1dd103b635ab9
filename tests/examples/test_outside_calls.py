"""A handler calls the outside, and its worker dies before the commit: the same key is sent again."""

import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

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


class Mail(ThreadingHTTPServer):
    """The other side: it remembers every key that it was given."""

    daemon_threads = True

    def __init__(self) -> None:
        self.keys: list[str] = []
        super().__init__(("127.0.0.1", 0), Desk)


class Desk(BaseHTTPRequestHandler):
    """Takes one call."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Mail)
        self.server.keys.append(self.headers["Idempotency-Key"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's own name
        """Say nothing."""


@pytest.fixture
def mail() -> Iterator[Mail]:
    with Mail() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.anyio
async def test_the_same_key_is_sent_again(in_shop: Any, send: Any, entries: Any, tables: Any, mail: Mail) -> None:
    folder = in_shop.folder
    (folder / "receipts.py").write_text(RECEIPTS.replace("URL", f"http://127.0.0.1:{mail.server_port}/"))
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
