"""The example's consumer, killed while it works and sent each order twice: each order is placed once."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import msgspec
import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from tests.examples.programs import environment
from tests.idempotency.messages.streams import SECONDS, settled, until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "consumer.py"
STREAM, SUBJECT, DURABLE = "orders", "orders.placed", "shop"
"""As the example calls them."""
ORDERS = [f"{number:03}" for number in range(40)]
ACK_WAIT, WINDOW = 0.5, 0.1
"""Seconds: shorter than the servers' own, so that the test need not wait."""


@pytest.fixture
async def jetstream(nats_url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(nats_url)
    made = client.jetstream()
    await made.add_stream(StreamConfig(name=STREAM, subjects=[SUBJECT], duplicate_window=WINDOW))
    durable = ConsumerConfig(durable_name=DURABLE, ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT)
    await made.add_consumer(STREAM, durable)
    yield made
    await client.close()


async def publish(jetstream: JetStreamContext, number: str) -> bool:
    """Whether it was stored, and not taken for a duplicate by JetStream itself."""
    body = msgspec.json.encode({"number": number, "cents": 1250})
    return not (await jetstream.publish(SUBJECT, body, headers={"Nats-Msg-Id": number})).duplicate


async def placed(database_url: str) -> list[str]:
    """The numbers of the orders that are placed, sorted."""
    connection = await asyncpg.connect(database_url)
    try:
        return [row["number"] for row in await connection.fetch("SELECT number FROM placed_order ORDER BY number")]
    except asyncpg.UndefinedTableError:
        return []
    finally:
        await connection.close()


@pytest.mark.anyio
async def test_each_order_is_placed_once(
    jetstream: JetStreamContext, nats_url: str, database_url: str, tmp_path: Path
) -> None:
    def start() -> subprocess.Popen[bytes]:
        env = {**environment(tmp_path), "RECEIVER_DATABASE_URL": database_url}
        with (tmp_path / "consumer.log").open("ab") as log:
            return subprocess.Popen([sys.executable, EXAMPLE, nats_url], cwd=tmp_path, env=env, stdout=log, stderr=log)

    async def some_placed() -> bool:
        return len(await placed(database_url)) >= len(ORDERS) // 2

    for number in ORDERS:
        assert await publish(jetstream, number)
    first = start()
    await until(some_placed)
    first.send_signal(signal.SIGKILL)
    first.wait(SECONDS)
    for number in ORDERS:
        await until(partial(publish, jetstream, number))
    second = start()
    await until(partial(settled, jetstream, STREAM, DURABLE))
    second.send_signal(signal.SIGTERM)
    assert second.wait(SECONDS) == 0, (tmp_path / "consumer.log").read_text()
    assert (await jetstream.stream_info(STREAM)).state.messages == 2 * len(ORDERS)
    assert await placed(database_url) == ORDERS
