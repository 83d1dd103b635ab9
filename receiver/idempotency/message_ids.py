"""The id of a message: what stays the same when a broker delivers it again.

Each function takes a message as the broker's own client gives it, and says None where there is no such id. Redelivered
is not published again: what the broker numbers (JetStream, Kafka, Redis) is new for a message that is published again,
what the publisher names (`Nats-Msg-Id`, RabbitMQ's `message_id`) is the same if the publisher says it again.

Where a broker numbers, the number begins anew in a stream or topic that was deleted and made again. So the time at
which the message was stored or made belongs to the id: it is as constant as the number.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol

_JETSTREAM: Final = "$JS.ACK."
_NATS_MSG_ID: Final = "Nats-Msg-Id"


class JetStreamPlace(Protocol):
    """Where a message stands in its stream: `nats.aio.msg.Msg.Metadata.SequencePair`."""

    @property
    def stream(self) -> int:
        """Its number there."""


class JetStreamMetadata(Protocol):
    """What JetStream says of a delivery: `nats.aio.msg.Msg.Metadata`."""

    @property
    def stream(self) -> str:
        """The stream's name."""

    @property
    def sequence(self) -> JetStreamPlace:
        """The message's numbers."""

    @property
    def timestamp(self) -> datetime:
        """When it was stored."""


class NatsMessage(Protocol):
    """`nats.aio.msg.Msg`."""

    @property
    def headers(self) -> Mapping[str, str] | None:
        """As the publisher sent them."""

    @property
    def reply(self) -> str:
        """Where to acknowledge; JetStream's begin in one way."""

    @property
    def metadata(self) -> JetStreamMetadata:
        """What `reply` says, taken apart."""


class KafkaRecord(Protocol):
    """`aiokafka.ConsumerRecord`."""

    @property
    def topic(self) -> str:
        """Of the record."""

    @property
    def partition(self) -> int:
        """Of the topic."""

    @property
    def offset(self) -> int:
        """In the partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds: when it was made or, where the topic says so, stored."""


class RabbitMessage(Protocol):
    """`aio_pika.IncomingMessage`."""

    @property
    def message_id(self) -> str | None:
        """The property that its publisher has set."""


def nats_id(message: NatsMessage) -> str | None:
    """The stream, and `Nats-Msg-Id` where the publisher has set it, else the number there and the time of storing.

    None for a message that is not JetStream's and has no such header: it is never delivered again.
    """
    named = (message.headers or {}).get(_NATS_MSG_ID)
    if not message.reply.startswith(_JETSTREAM):
        return f"named {named}" if named else None
    place = message.metadata
    if named:
        return f"named {place.stream} {named}"
    return f"stored {place.stream} {place.sequence.stream} {place.timestamp.isoformat()}"


def kafka_id(record: KafkaRecord) -> str:
    """Topic, partition, offset and timestamp."""
    return f"{record.topic} {record.partition} {record.offset} {record.timestamp}"


def rabbit_id(message: RabbitMessage) -> str | None:
    """The property `message_id`, which the publisher must set: RabbitMQ itself numbers nothing that lasts."""
    return message.message_id or None


def redis_id(stream: str, entry: str | bytes) -> str:
    """The stream's key and the entry's id, which begins with the time of adding.

    Args:
        stream: the key that was read.
        entry: its id as redis-py gives it, such as `b"1767225600000-0"`.
    """
    return f"{stream} {entry.decode() if isinstance(entry, bytes) else entry}"
