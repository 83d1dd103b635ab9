"""The worker's composition root: everything is built here, and nothing below builds itself."""

import asyncio
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import version
from types import TracebackType
from typing import Self

import structlog

from receiver.dispatch import Dispatcher, Limits, Observer, Replayer
from receiver.dispatch.confirm import Confirmer
from receiver.dispatch.content import Readers
from receiver.dispatch.presence import Presence
from receiver.followups.payload import to_json
from receiver.handlers import Confirmation, Registry
from receiver.marks import Marks, Nudges, connect
from receiver.settings import Settings
from receiver.storage.batches import BatchConnection
from receiver.storage.confirmations import ConfirmationConnection, confirming_engine
from receiver.storage.connection import run_engine
from receiver.storage.leases import LeaseConnection, lease_engine
from receiver.storage.stepping import StepConnection, step_engine
from receiver.storage.workers import State, TellingConnection, Word, telling_engine

log = structlog.get_logger(__name__)


class Worker:
    """Runs handlers while it is entered: `async with Worker(…):`, or `await Worker(…).run_until(stop)`.

    Args:
        database_url: `postgresql://…`; a session of its own for each connection (no transaction pooler in between).
        redis_url: `redis://…`, where nudges come from; without them the poll finds everything.
        registry: the merchant's handlers.
        readers: by source, how a body becomes `event.data`.
        settings: concurrency and times; its URLs are not read.
        metrics: hears of every run.
        confirmations: by source, what is asked before any of its handlers runs.
        name: stands in the leases and attempts; default: host, process and a random part.
    """

    def __init__(
        self,
        *,
        database_url: str,
        redis_url: str,
        registry: Registry,
        readers: Readers,
        settings: Settings,
        metrics: Observer,
        confirmations: Mapping[str, Confirmation] | None = None,
        name: str | None = None,
    ) -> None:
        self._database_url = database_url
        self._redis_url = redis_url
        self._registry = registry
        self._readers = dict(readers)
        self._settings = settings
        self._metrics = metrics
        self._confirmations = dict(confirmations or {})
        self._replaced: list[Confirmation] = []
        self.name = name or own_name()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start; Postgres and Redis may come later."""
        heard = asyncio.Event()
        async with AsyncExitStack() as stack:
            nudges = Nudges(connect(self._redis_url, timeout=self._settings.redis_timeout), heard)
            stack.push_async_callback(nudges.close)
            dispatcher = self._dispatcher(stack, heard, self._followed(stack, heard))
            presence = self._presence(stack, dispatcher)
            dispatcher.start()
            presence.start()
            stack.push_async_callback(presence.stop)
            stack.push_async_callback(dispatcher.stop)
            replayer = self._replayer(stack, nudges)
            replayer.start()
            stack.push_async_callback(replayer.stop)
            stack.callback(presence.drain)
            self._stack = stack.pop_all()
        log.info("worker_started", worker=self.name, handlers=len(self._registry))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what has not begun, let running handlers finish within the grace, disconnect."""
        await self._stack.aclose()
        log.info("worker_stopped", worker=self.name)

    def read_with(self, readers: Readers) -> None:
        """Read bodies by these from now on, by source; a run that has begun keeps the one that it has.

        Those of sources that are gone stay too: what came to them may still be owed to a handler.
        """
        self._readers.update(readers)

    def confirm_with(self, confirmations: Mapping[str, Confirmation]) -> None:
        """Confirm by these from now on, by source; what is being asked goes on."""
        self._replaced += self._confirmations.values()
        self._confirmations.clear()
        self._confirmations.update(confirmations)

    async def run_until(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then drain."""
        async with self:
            await stop.wait()

    def _followed(self, stack: AsyncExitStack, heard: asyncio.Event) -> Callable[[], None]:
        marks = Marks(connect(self._redis_url, timeout=self._settings.redis_timeout), ttl=self._settings.mark_ttl)
        stack.push_async_callback(marks.close)

        def followed() -> None:
            """Wake this worker at once, and the others through Redis: it may have no slot free."""
            heard.set()
            marks.nudge()

        return followed

    def _presence(self, stack: AsyncExitStack, dispatcher: Dispatcher) -> Presence:
        telling = telling_engine(self._database_url)
        stack.push_async_callback(telling.dispose)
        started, program = time.monotonic(), version("receiver")

        def word(state: State) -> Word:
            return Word(
                name=self.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=program,
                up_seconds=time.monotonic() - started,
                state=state,
                concurrency=self._settings.concurrency,
                running=dispatcher.running,
                handlers=self._registry.names(),
                closed=dispatcher.closed(),
            )

        return Presence(TellingConnection(telling), word)

    def _dispatcher(self, stack: AsyncExitStack, heard: asyncio.Event, followed: Callable[[], None]) -> Dispatcher:
        settings = self._settings
        leasing = lease_engine(self._database_url)
        stack.push_async_callback(leasing.dispose)
        running = run_engine(
            self._database_url,
            size=settings.concurrency + 1,
            lease_seconds=settings.lease_seconds,
            wait_for_disk=settings.wait_for_disk,
        )
        stack.push_async_callback(running.dispose)
        return Dispatcher(
            registry=self._registry,
            readers=self._readers,
            limits=Limits(
                concurrency=settings.concurrency,
                lease_seconds=settings.lease_seconds,
                poll_seconds=settings.poll_seconds,
                grace_seconds=settings.grace_seconds,
            ),
            leases=LeaseConnection(leasing, worker=self.name, seconds=settings.lease_seconds),
            connect=lambda: BatchConnection(running),
            heard=heard,
            followed=followed,
            confirmer=self._confirmer(stack),
            observer=self._metrics,
            draw=secrets.SystemRandom().random,
        )

    def _confirmer(self, stack: AsyncExitStack) -> Confirmer:
        confirming = confirming_engine(self._database_url)
        stack.push_async_callback(confirming.dispose)
        connection = ConfirmationConnection(confirming)
        stack.push_async_callback(connection.close)
        stack.push_async_callback(self._close_confirmations)
        return Confirmer(
            self._confirmations,
            connection,
            readers=self._readers,
            encode=to_json,
            heard=self._metrics,
            draw=secrets.SystemRandom().random,
        )

    async def _close_confirmations(self) -> None:
        for confirmation in (*self._confirmations.values(), *self._replaced):
            await confirmation.close()

    def _replayer(self, stack: AsyncExitStack, nudges: Nudges) -> Replayer:
        stepping = step_engine(self._database_url)
        stack.push_async_callback(stepping.dispose)
        return Replayer(
            StepConnection(stepping, worker=self.name),
            registry=self._registry,
            readers=self._readers,
            nudge=nudges.nudge,
            draw=secrets.SystemRandom().random,
        )


def own_name() -> str:
    """A name that no other worker has, and that tells an operator where to look."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40]
    return f"{host}:{os.getpid()}:{secrets.token_hex(3)}"
