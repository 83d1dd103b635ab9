"""A FastStream middleware that gives each message its effect exactly once, whatever broker it comes from.

FastStream acknowledges when the last middleware has returned, so the commit in here comes before it. What a handler
raises decides as FastStream says, but for one thing: an error is never an acknowledgement, whatever `ack_policy` is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Protocol

from faststream import AckPolicy, BaseMiddleware, Context, ContextRepo, StreamMessage
from faststream.exceptions import AckMessage, HandlerException, NackMessage, RejectMessage
from faststream.message import AckStatus, SourceType
from sqlalchemy.ext.asyncio import AsyncSession

from receiver.errors import MessageError
from receiver.idempotency.message_ids import kafka_id, nats_id, rabbit_id, redis_id
from receiver.idempotency.messages import consumed

_TX: Final = "receiver_tx"
_UNFIT: Final = (AckPolicy.ACK_FIRST, AckPolicy.MANUAL)

Tx = Annotated[AsyncSession, Context(_TX)]
"""What a handler writes its effect with: `async def place(order: Order, tx: Tx) -> None`."""


class Subscribers(Protocol):
    """A broker or a router of FastStream's."""

    @property
    def subscribers(self) -> list[Any]:
        """All that were declared on it."""


class ExactlyOnce:
    """A middleware for one handler: on a router of its own, or on a broker that has no other.

    The handler runs in a transaction, which its parameter `tx: Tx` writes with. The message's id is inserted there.
    The transaction is committed when the handler returns, then the message is acknowledged. For a message whose effect
    is there already the handler does not run; it is acknowledged. Where the handler raises, all of it is rolled
    back, and the message comes again.

    Args:
        sessions: makes sessions (`async_sessionmaker`), one for each message.
        scope: whose effects these are; each handler that is to see every message has its own.
        message_id: the id of a message where it is not the broker's own; None if it has none.
    """

    def __init__(
        self,
        sessions: Callable[[], AsyncSession],
        *,
        scope: str,
        message_id: Callable[[StreamMessage[Any]], str | None] | None = None,
    ) -> None:
        self._sessions = sessions
        self._scope = scope
        self._message_id = message_id or default_id
        self._handlers: list[object] = []

    def __call__(self, msg: object, /, *, context: ContextRepo) -> BaseMiddleware:
        """For FastStream, which calls it for each message."""
        return _Delivery(msg, context=context, once=self)

    @staticmethod
    def check(broker: Subscribers) -> None:
        """Say before the first message whether a subscriber acknowledges at the wrong time.

        Raises:
            MessageError: `message_ack_policy`; Kafka's default is such.
        """
        for subscriber in broker.subscribers:
            _check_policy(subscriber)

    async def run(
        self,
        handler: Callable[[StreamMessage[Any]], Awaitable[object]],
        message: StreamMessage[Any],
        context: ContextRepo,
    ) -> object:
        """Run what is left of the chain in a transaction, if it is the first time; the middleware calls it."""
        self._check(context.get_local("handler_"))
        done: AckMessage | None = None
        result: object = None
        async with consumed(self._sessions, scope=self._scope, message_id=self._message_id(message)) as tx:
            if tx is None:
                raise AckMessage  # and not a return, which would publish an empty reply
            with context.scope(_TX, tx):
                try:
                    result = await handler(message)
                except AckMessage as early:
                    done = early
            _obey(message.committed)
        if done is not None:
            raise done
        return result

    def _check(self, subscriber: Any) -> None:  # noqa: ANN401  FastStream names no public type for it
        if subscriber is None:
            raise MessageError("message_handler", "no handler: with get_one() or an iterator, say `consumed` yourself")
        _check_policy(subscriber)
        handlers = [call.handler for call in subscriber.calls]
        self._handlers = self._handlers or handlers
        if self._handlers != handlers:
            raise MessageError(
                "message_scope_shared",
                f"two handlers share the scope {self._scope!r}, and one would skip what the other has done:"
                " give each a router with an ExactlyOnce of its own",
            )


class _Delivery(BaseMiddleware):
    """One delivery of a message."""

    def __init__(self, msg: Any, /, *, context: ContextRepo, once: ExactlyOnce) -> None:  # noqa: ANN401 FastStream's
        super().__init__(msg, context=context)
        self._once = once

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Any]], Awaitable[object]], msg: StreamMessage[Any]
    ) -> object:
        """Run the handler; what goes wrong is a negative acknowledgement, before the policy makes it a final one."""
        if msg.source_type is SourceType.RESPONSE:
            return await call_next(msg)
        try:
            return await self._once.run(call_next, msg, self.context)
        except (HandlerException, asyncio.CancelledError):
            raise  # FastStream does what those say, and leaves a message alone whose run was cancelled
        except BaseException:  # also the handler's `exit()`
            await msg.nack()
            raise


def default_id(message: StreamMessage[Any]) -> str | None:
    """What a message of NATS, Kafka, RabbitMQ or a Redis stream has; see `message_ids`.

    FastStream's own `message_id` is another thing: for most brokers it is drawn anew at each delivery.

    Raises:
        MessageError: `message_batch`, it is several messages.
    """
    raw = message.raw_message
    if isinstance(raw, list | tuple):
        raise _batch()
    for kind in type(message).__mro__:
        if find := _IDS.get(kind.__module__):
            return find(raw)
    return None


def _redis(raw: Mapping[str, Any]) -> str | None:
    entries = raw.get("message_ids", ())
    if len(entries) > 1:
        raise _batch()
    return redis_id(raw["channel"], entries[0]) if entries else None


_IDS: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "faststream.kafka.message": kafka_id,
    "faststream.nats.message": nats_id,
    "faststream.rabbit.message": rabbit_id,
    "faststream.redis.message": _redis,
}


def _batch() -> MessageError:
    return MessageError("message_batch", "several messages share one acknowledgement; subscribe to single ones")


def _check_policy(subscriber: Any) -> None:  # noqa: ANN401  FastStream names no public type for it
    if subscriber.ack_policy in _UNFIT:
        raise MessageError(
            "message_ack_policy",
            f"ack_policy={subscriber.ack_policy.name}: say AckPolicy.NACK_ON_ERROR; the message must be acknowledged"
            " when its effect is committed",
        )


def _obey(committed: AckStatus | None) -> None:
    """Undo what a handler has done that refused its message by its own hand."""
    if committed is AckStatus.NACKED:
        raise NackMessage
    if committed is AckStatus.REJECTED:
        raise RejectMessage
