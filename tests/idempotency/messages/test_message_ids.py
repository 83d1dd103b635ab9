"""An id is the same when a message is delivered again, and another for every other message."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from receiver.messages import kafka_id, nats_id, redis_id
from tests.idempotency.messages.streams import SECONDS, Stream, make_stream


@pytest.fixture
async def client(nats_url: str) -> AsyncIterator[Client]:
    made = await nats.connect(nats_url)
    yield made
    await made.close()


async def pulled(stream: Stream, *, then: str) -> Msg:
    """The next message, and what becomes of it."""
    subscription = await stream.subscribe()
    [message] = await subscription.fetch(1, timeout=SECONDS)
    await getattr(message, then)()
    await subscription.unsubscribe()
    return message


async def test_of_jetstream_it_is_the_place_and_the_same_when_it_comes_again(stream: Stream) -> None:
    await stream.publish("a", "a")
    deliveries = [await pulled(stream, then=then) for then in ("nak", "nak", "ack", "ack")]
    assert [message.metadata.num_delivered for message in deliveries] == [1, 2, 3, 1]
    first, again, once_more, other = map(nats_id, deliveries)
    assert first == again == once_more
    assert other not in {first, None}


async def test_of_jetstream_it_is_the_publishers_where_there_is_one(stream: Stream) -> None:
    await stream.publish("a", message_id="order 1")
    assert nats_id(await pulled(stream, then="ack")) == f"named {stream.name} order 1"


async def test_a_stream_that_is_made_anew_numbers_other_messages(stream: Stream) -> None:
    await stream.publish("a")
    before = await pulled(stream, then="ack")
    await stream.jetstream.delete_stream(stream.name)
    anew = await make_stream(stream.jetstream, stream.nats_url, stream.database_url, name=stream.name)
    await anew.publish("b")
    after = await pulled(anew, then="ack")
    assert before.metadata.sequence.stream == after.metadata.sequence.stream == 1
    assert nats_id(before) != nats_id(after)


async def test_of_a_message_outside_of_jetstream_there_is_none(client: Client) -> None:
    subscription = await client.subscribe("plain")
    await client.publish("plain", b"a", reply="inbox")
    await client.publish("plain", b"a", headers={"Nats-Msg-Id": "order 1"})
    ids = [nats_id(await subscription.next_msg(SECONDS)) for _ in range(2)]
    assert ids == [None, "named order 1"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record of Kafka's."""

    topic: str = "orders"
    partition: int = 0
    offset: int = 0
    timestamp: int = 0


RECORDS = [Record(), Record(topic="refunds"), Record(partition=1), Record(offset=1), Record(timestamp=1)]
ENTRIES = [("orders", "1-0"), ("orders", "1-1"), ("orders", "11-0"), ("refunds", "1-0"), ("orders 1", "1-0")]


def test_of_kafka_each_part_of_the_place_counts() -> None:
    assert len({kafka_id(record) for record in RECORDS}) == len(RECORDS)
    assert kafka_id(Record()) == kafka_id(Record())


def test_of_redis_it_is_stream_and_entry_in_either_form() -> None:
    assert len({redis_id(*entry) for entry in ENTRIES}) == len(ENTRIES)
    assert redis_id("orders", b"1-0") == redis_id("orders", "1-0")
