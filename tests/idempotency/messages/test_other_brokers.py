"""The middleware with other brokers: Redis streams on the real server, the choice of the id for Kafka and RabbitMQ.

Kafka and RabbitMQ are FastStream's own, in memory: they show which id a message has, and nothing about a broker.
"""

import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from aio_pika import Message
from faststream import AckPolicy, BaseMiddleware, StreamMessage
from faststream.kafka import KafkaBroker, KafkaMessage, TestKafkaBroker
from faststream.rabbit import RabbitBroker, TestRabbitBroker
from faststream.redis import RedisBroker, StreamSub
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from receiver.faststream import ExactlyOnce, Tx
from receiver.messages import MessageError, consumed, kafka_id, redis_id
from tests.idempotency.messages.streams import EFFECT, rows, until

Sessions = async_sessionmaker[AsyncSession]
GROUP, CONSUMER = "shop", "one"
IDLE_MS = 100
"""Milliseconds after which what was not acknowledged is claimed."""


class Failed(Exception):
    """What goes wrong."""


async def test_redis_an_entry_that_is_claimed_again_has_one_effect(
    sessions: Sessions, shop_url: str, redis_url: str
) -> None:
    deliveries: list[str] = []
    runs: list[str] = []

    class Around(BaseMiddleware):
        """Notes each delivery, and fails for the first one that is committed."""

        async def consume_scope(
            self, call_next: Callable[[StreamMessage[Any]], Awaitable[Any]], msg: StreamMessage[Any]
        ) -> object:
            deliveries.append(msg.raw_message["message_ids"][0].decode())
            result = await call_next(msg)
            if len(deliveries) == 2:
                raise Failed
            return result

    key = f"orders {uuid.uuid4().hex}"
    broker = RedisBroker(redis_url, middlewares=[Around, ExactlyOnce(sessions, scope="orders")])

    @broker.subscriber(stream=StreamSub(key, group=GROUP, consumer=CONSUMER, polling_interval=20))
    @broker.subscriber(
        stream=StreamSub(key, group=GROUP, consumer=CONSUMER, polling_interval=20, min_idle_time=IDLE_MS)
    )
    async def order(body: str, tx: Tx) -> None:
        runs.append(body)
        await tx.execute(EFFECT, {"message": body})
        if len(runs) == 1:
            raise Failed

    ExactlyOnce.check(broker)
    async with broker, Redis.from_url(redis_url) as client:
        await broker.start()
        await broker.publish("a", stream=key)

        async def settled() -> bool:
            return len(deliveries) > 2 and not (await client.xpending(key, GROUP))["pending"]

        await until(settled)
    assert len(deliveries) == 3
    assert len(set(deliveries)) == 1
    assert runs == ["a", "a"]
    assert await rows(shop_url) == ["a"]


async def test_redis_a_plain_consumer_too(sessions: Sessions, shop_url: str, redis_url: str) -> None:
    taken: list[bool] = []

    async def take(entry: bytes, body: bytes, ack: Callable[[], Awaitable[object]]) -> None:
        async with consumed(sessions, scope="orders", message_id=redis_id("orders", entry), ack=ack) as tx:
            taken.append(tx is not None)
            if tx is not None:
                await tx.execute(EFFECT, {"message": body.decode()})

    async def lost() -> None:
        raise Failed

    async with Redis.from_url(redis_url) as client:
        await client.xgroup_create("orders", GROUP, mkstream=True)
        await client.xadd("orders", {"body": "a"})
        read: Any = await client.xreadgroup(GROUP, CONSUMER, {"orders": ">"})
        [[_, [(entry, fields)]]] = read
        with pytest.raises(Failed):
            await take(entry, fields[b"body"], lost)
        claimed: Any = await client.xautoclaim("orders", GROUP, "another", min_idle_time=0)
        _, [(again, fields)], _ = claimed
        await take(again, fields[b"body"], partial(client.xack, "orders", GROUP, again))
        assert (await client.xpending("orders", GROUP))["pending"] == 0
    assert taken == [True, False]
    assert await rows(shop_url) == ["a"]


@pytest.mark.parametrize("unfit", [{"channel": "orders"}, {"list": "orders"}, {"stream": StreamSub("orders")}])
async def test_redis_what_is_never_delivered_again_is_told_at_the_start(
    sessions: Sessions, redis_url: str, unfit: dict[str, Any]
) -> None:
    broker = RedisBroker(redis_url, middlewares=[ExactlyOnce(sessions, scope="orders")])
    broker.subscriber(**unfit)
    with pytest.raises(MessageError) as caught:
        ExactlyOnce.check(broker)
    assert caught.value.reason == "message_ack_policy"


async def test_kafka_the_id_is_the_place_and_the_time(sessions: Sessions, shop_url: str) -> None:
    broker = KafkaBroker(middlewares=[ExactlyOnce(sessions, scope="orders")], logger=None)
    ids: list[str] = []

    @broker.subscriber("orders", "refunds", group_id=GROUP, ack_policy=AckPolicy.NACK_ON_ERROR)
    async def order(body: str, message: KafkaMessage, tx: Tx) -> None:
        assert not isinstance(message.raw_message, tuple)
        ids.append(kafka_id(message.raw_message))
        await tx.execute(EFFECT, {"message": body})

    ExactlyOnce.check(broker)
    async with TestKafkaBroker(broker):
        for topic, timestamp in [("orders", 1), ("orders", 1), ("orders", 2), ("refunds", 1), ("refunds", 1)]:
            await broker.publish(f"{topic} {timestamp}", topic, timestamp_ms=timestamp)
    assert ids == ["orders 0 0 1", "orders 0 0 2", "refunds 0 0 1"]
    assert await rows(shop_url) == ["orders 1", "orders 2", "refunds 1"]


async def test_kafka_s_default_policy_is_told_at_the_start(sessions: Sessions) -> None:
    broker = KafkaBroker(middlewares=[ExactlyOnce(sessions, scope="orders")])
    broker.subscriber("orders", group_id=GROUP)
    with pytest.raises(MessageError) as caught:
        ExactlyOnce.check(broker)
    assert caught.value.reason == "message_ack_policy"


async def test_rabbit_the_id_is_the_publishers(sessions: Sessions, shop_url: str) -> None:
    broker = RabbitBroker(middlewares=[ExactlyOnce(sessions, scope="orders")], logger=None)

    @broker.subscriber("orders")
    async def order(body: str, tx: Tx) -> None:
        await tx.execute(EFFECT, {"message": body})

    async with TestRabbitBroker(broker):
        for message_id in ("m_1", "m_1", "m_2"):
            await broker.publish(message_id, "orders", message_id=message_id)
        with pytest.raises(MessageError) as caught:
            await broker.publish(Message(b"none", correlation_id="c_1"), "orders")
    assert caught.value.reason == "message_id_missing"
    assert await rows(shop_url) == ["m_1", "m_2"]
