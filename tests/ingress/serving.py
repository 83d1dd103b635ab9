"""The service inside the test's own process, behind each of its doors, on a free port."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from receiver import Receiver
from receiver.app.listeners import Listener, bind
from receiver.certificates import Network
from receiver.inbox import Inbox
from receiver.ingress import Clock
from receiver.ingress.intake import Intake
from receiver.settings import Settings
from tests.ingress.accounts import Sent
from tests.ingress.wire import Reply, ask

DOORS = ("fast", "asgi", "mounted")
MOUNT = "/payments"


@dataclass(frozen=True)
class Serving:
    """A running service."""

    port: int
    receiver: Receiver
    prefix: str = ""
    inbox: Inbox | None = None
    intake: Intake | None = None

    async def post(self, sent: Sent) -> Reply:
        """Send a callback on a connection of its own."""
        return await ask(self.port, self.raw(sent))

    def raw(self, sent: Sent) -> bytes:
        """The request, to where this service takes it."""
        return sent.raw.replace(b"POST ", b"POST " + self.prefix.encode(), 1)

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value, 0 if it was never counted."""
        return self.receiver.metrics.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def serving(
    receiver: Receiver,
    settings: Settings,
    door: str = "fast",
    network: Network | None = None,
    clock: Clock = time.time,
) -> AsyncIterator[Serving]:
    """Run it; at the end it drains and writes its tally, as a program does. One that is mounted has its own clock."""
    if door == "mounted":
        async with _mounted(receiver) as served:
            yield served
        return
    service = receiver.service(settings, clock=clock, network=network)
    doors = await service.start(receiver.public())
    bound = bind("127.0.0.1", 0, setting="port")
    listener = Listener(doors.app, bound, grace=1, protocol=doors.protocol if door == "fast" else None)
    await listener.start()
    try:
        yield Serving(bound.getsockname()[1], receiver, inbox=service._inbox, intake=service._intake)
    finally:
        await listener.stop()
        await service.close()


@asynccontextmanager
async def _mounted(receiver: Receiver) -> AsyncIterator[Serving]:
    """In a merchant's own application, whose lifespan includes ours."""
    app = FastAPI()
    app.mount(MOUNT, receiver)
    bound = bind("127.0.0.1", 0, setting="port")
    listener = Listener(app, bound, grace=1)
    async with receiver.lifespan(app, work=False):
        await listener.start()
        try:
            yield Serving(bound.getsockname()[1], receiver, prefix=MOUNT)
        finally:
            await listener.stop()
