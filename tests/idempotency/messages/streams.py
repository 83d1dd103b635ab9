"""What the tests of consumers share: a JetStream stream, a table of effects, and when all is settled."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, PubAck, StreamConfig
from nats.js.errors import NotFoundError
from sqlalchemy import text

SECONDS = 30.0
ACK_WAIT = 0.5
"""Seconds after which JetStream delivers again, where a test wants that."""
DURABLE = "shop"
WINDOW = 0.1
"""Seconds in which JetStream itself drops what comes twice: the least that it takes."""
EFFECT = text("INSERT INTO effect (message) VALUES (:message)")
DELIVERY = text("INSERT INTO delivery (message) VALUES (:message)")
TABLES = """
CREATE TABLE effect (message text NOT NULL);
CREATE TABLE delivery (message text NOT NULL);
"""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A stream of a test's own; its subject has the same name."""

    name: str
    jetstream: JetStreamContext
    nats_url: str
    database_url: str

    async def publish(self, *messages: str, message_id: str | None = None) -> PubAck:
        """Publish each; what the server said of the last."""
        headers = {"Nats-Msg-Id": message_id} if message_id else None
        for message in messages:
            said = await self.jetstream.publish(self.name, message.encode(), headers=headers)
        return said

    async def subscribe(self, ack_wait: float = SECONDS) -> JetStreamContext.PullSubscription:
        """Pull from the one consumer; `ack_wait` in seconds."""
        config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=ack_wait)
        return await self.jetstream.pull_subscribe(self.name, durable=DURABLE, stream=self.name, config=config)

    async def settled(self) -> bool:
        """Whether all that was published was delivered and acknowledged, or refused for good."""
        return await settled(self.jetstream, self.name, DURABLE)

    async def until_settled(self) -> None:
        await until(self.settled)

    async def rows(self, table: str = "effect") -> list[str]:
        """The messages in a table, sorted."""
        return await rows(self.database_url, table)

    async def until_stored_again(self, message: str, message_id: str) -> None:
        """Publish under an id that has been used, until JetStream itself has forgotten that."""

        async def stored() -> bool:
            return not (await self.publish(message, message_id=message_id)).duplicate

        await until(stored)

    async def has_rows(self, least: int) -> bool:
        """Whether there are so many effects, or more."""
        return len(await self.rows()) >= least


async def make_stream(jetstream: JetStreamContext, nats_url: str, database_url: str, name: str = "") -> Stream:
    name = name or f"orders{uuid.uuid4().hex}"
    await jetstream.add_stream(StreamConfig(name=name, subjects=[name], duplicate_window=WINDOW))
    return Stream(name=name, jetstream=jetstream, nats_url=nats_url, database_url=database_url)


async def settled(jetstream: JetStreamContext, stream: str, durable: str) -> bool:
    """Whether a consumer has done with all of a stream. Its counts may be behind; how far it has come is not."""
    try:
        info = await jetstream.consumer_info(stream, durable)
    except NotFoundError:
        return False
    last = (await jetstream.stream_info(stream)).state.last_seq
    return info.ack_floor is not None and info.ack_floor.stream_seq == last > 0


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + SECONDS
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def rows(database_url: str, table: str = "effect") -> list[str]:
    connection = await asyncpg.connect(database_url)
    try:
        return [row["message"] for row in await connection.fetch(f"SELECT message FROM {table} ORDER BY message")]
    finally:
        await connection.close()
