"""A FastStream broker with one subscriber, whose handler writes an effect and then behaves as a test wants."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from faststream import AckPolicy, BaseMiddleware, ContextRepo, StreamMessage
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from receiver.faststream import ExactlyOnce, Tx
from tests.idempotency.messages.streams import DURABLE, EFFECT, Stream

PULL = PullSub(timeout=0.2)
Behaviour = Callable[[NatsMessage], Awaitable[None]]
MessageId = Callable[[StreamMessage[Any]], str | None]


@dataclass
class Witness:
    """A middleware around all others that keeps what goes wrong; FastStream itself logs it and goes on."""

    errors: list[BaseException] = field(default_factory=list)

    def __call__(self, msg: object, /, *, context: ContextRepo) -> BaseMiddleware:
        return _Watch(msg, context=context, errors=self.errors)

    @property
    def reasons(self) -> set[str]:
        return {getattr(error, "reason", "") for error in self.errors}


class _Watch(BaseMiddleware):
    def __init__(self, msg: Any, /, *, context: ContextRepo, errors: list[BaseException]) -> None:
        super().__init__(msg, context=context)
        self._errors = errors

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        if exc_val is not None:
            self._errors.append(exc_val)
        return await super().after_processed(exc_type, exc_val, exc_tb)


@dataclass
class Shop:
    """What consumes a stream."""

    stream: Stream
    sessions: async_sessionmaker[AsyncSession]
    runs: list[str] = field(default_factory=list)
    """The message of each run of the handler."""
    behaviours: list[Behaviour] = field(default_factory=list)
    """Of the next runs; after those it returns."""
    witness: Witness = field(default_factory=Witness)
    ack_policy: AckPolicy = AckPolicy.REJECT_ON_ERROR
    message_id: MessageId | None = None

    @property
    def place(self) -> JStream:
        return JStream(self.stream.name, declare=False)

    @property
    def replies(self) -> str:
        """The subject that the handler's replies go to."""
        return f"{self.stream.name}-placed"

    def once(self) -> ExactlyOnce:
        return ExactlyOnce(self.sessions, scope="orders", message_id=self.message_id)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[NatsBroker]:
        broker = NatsBroker(self.stream.nats_url, middlewares=[self.witness, self.once()], logger=None)

        @broker.publisher(self.replies)
        @broker.subscriber(
            self.stream.name, stream=self.place, durable=DURABLE, pull_sub=PULL, ack_policy=self.ack_policy
        )
        async def order(body: str, message: NatsMessage, tx: Tx) -> str:
            self.runs.append(body)
            await tx.execute(EFFECT, {"message": body})
            if self.behaviours:
                await self.behaviours.pop(0)(message)
            return body

        async with broker:
            await broker.start()
            yield broker
