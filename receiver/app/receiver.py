"""The object that a merchant holds: handlers are registered on it, and it is itself an ASGI application."""

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.app.guards import Guards
from receiver.app.service import Service, required
from receiver.certificates import Network
from receiver.confirmations import Confirmations
from receiver.errors import EmitError, SettingsError
from receiver.events import INTERNAL, Emitted, parse_exactly
from receiver.followups import follow_up
from receiver.handlers import AnyConfirmFunction, Confirmation, Registry, RetryPolicy
from receiver.handlers.confirming import DEFAULT_POLICY, DEFAULT_TIMEOUT
from receiver.handlers.handler import refuse_bare
from receiver.handlers.lanes import Lane, OnDead
from receiver.handlers.registry import HandlerFunction
from receiver.ingress import Clock
from receiver.observability.metrics import DispatchMetrics
from receiver.settings import Settings, load
from receiver.sources import Source, build_sources
from receiver.storage.arrivals import Arrival
from receiver.storage.emits import store_emitted, tell_after_commit
from receiver.worker import Worker

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session


def readers_of(sources: Mapping[str, Source]) -> dict[str, Callable[[bytes], object]]:
    """By source: how the bodies of its events become `event.data`."""
    return {INTERNAL: parse_exactly} | {name: source.content for name, source in sources.items()}


class Receiver(Guards):
    """Receives payment callbacks and runs handlers, each exactly once in effect.

    As a program: `receiver serve payments:receiver` and `receiver work payments:receiver`. Inside an application of
    your own: `app = FastAPI(lifespan=receiver.lifespan)` and `app.mount("/payments", receiver)`.

    Args:
        settings: default: environment, `.env` and `receiver.toml` of the current folder, read at start.
        folder: what relative `file:` references are relative to, and where the settings file is looked for.
        retry: the policy of handlers that have none of their own.
    """

    def __init__(
        self, settings: Settings | None = None, *, folder: Path | None = None, retry: RetryPolicy | None = None
    ) -> None:
        super().__init__(folder or Path())
        self._settings = settings
        self._given = settings is not None
        self._folder = folder or Path()
        self._app: ASGIApp | None = None
        self._running: tuple[asyncio.AbstractEventLoop, Service] | None = None
        self.handlers = Registry(retry=retry)
        self._confirmations = Confirmations()
        self.metrics = CollectorRegistry()

    def on(
        self,
        source: str,
        *types: str,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        on_dead: OnDead = "pass",
        concurrency: int | None = None,
        raw: bool = False,
        batch: int = 1,
        as_list: bool = False,
    ) -> Callable[[HandlerFunction], HandlerFunction]:
        """Register a handler for events of a source, or of a provider.

        Args:
            source: a source's name (`stripe-eu`) or a provider's (`stripe`).
            types: event types or patterns such as `charge.*`; none: every event of the source.
            name: default: the function's. Stored with each dispatch: renaming it orphans what is not yet done.
            retry: when and how often to try again.
            timeout: seconds that one run may take.
            lane: `entity` keeps the events of one payment, order … in order; or a function of the event that names
                the lane. In one lane one runs at a time, the oldest first; other lanes never wait.
            on_dead: in a lane: `block` keeps what is behind a dead dispatch waiting until it is replayed.
            concurrency: runs at once in one worker.
            raw: lend it a `RawTransaction` instead of a session: SQL straight to asyncpg, at half the cost.
            batch: most of its events that are completed in one transaction, 1 to 100; for small, quick handlers that
                call nothing outside.
            as_list: call it once for a batch, with a list of the events; if that fails, for each of them alone, in a
                list of one.

        Raises:
            HandlerError: the function cannot be a handler, or another has its name.
        """
        return self.handlers.on(
            source,
            *types,
            name=name,
            retry=retry,
            timeout=timeout,
            lane=lane,
            on_dead=on_dead,
            concurrency=concurrency,
            raw=raw,
            batch=batch,
            as_list=as_list,
        )

    def confirm(
        self, source: str, *, timeout: float = DEFAULT_TIMEOUT, retry: RetryPolicy = DEFAULT_POLICY
    ) -> Callable[[AnyConfirmFunction], AnyConfirmFunction]:
        """Register an `async def` function of the event: it asks whether the event is so, before any handler runs.

        The function returns `Confirmed(…)`, or raises `NotConfirmed`: then none runs. After any other exception it is
        asked again. It is asked once for all handlers of an event, outside of any transaction, and what it said is
        stored; if its worker dies meanwhile, once more.

        Args:
            source: a source's name, or a provider's: then for all its sources that have none of their own.
            timeout: seconds that asking once may take.
            retry: when to ask again after an exception, and by its `patience` for how long.

        Raises:
            HandlerError: the function cannot be a confirmation, or the source has one.
        """
        refuse_bare(source, '@receiver.confirm("stripe")')

        def register(function: AnyConfirmFunction) -> AnyConfirmFunction:
            self._confirmations.add(source, Confirmation(function=function, timeout=timeout, policy=retry))
            return function

        return register

    def emit(
        self,
        tx: "AsyncSession",
        kind: str,
        payload: object,
        *,
        key: str,
        entity_id: str | None = None,
        occurred_at: dt.datetime | None = None,
    ) -> Coroutine[None, None, Emitted]:
        """Store a follow-up event in the transaction of `tx`, for handlers on `internal`: `await` it.

        It is stored when that transaction commits, and not at all when it does not; nothing is committed here. `tx` is
        the session that a handler was lent, or one of yours on the same database. Of one type and key there is one
        event: the same again is a duplicate, and writes nothing.

        Where another open transaction has emitted the same key, this waits until that one ends. Emit several in the
        order of their keys: two transactions in opposite orders deadlock.

        Args:
            tx: in its transaction.
            kind: the event's type, such as `order.paid`.
            payload: becomes `event.data`: what JSON can say, numbers to their last digit.
            key: what is unique about it among the events of this type, such as the order's id.
            entity_id: what it is about, for lanes.
            occurred_at: its own time, aware; None: none, and lanes go by arrival.

        Raises:
            EmitError: it cannot be stored so, or another payload stands under this key; see its reasons.
        """
        if not hasattr(tx, "run_sync"):  # said here and not in the coroutine, which a plain function would not await
            raise EmitError("emit_session", "tx: must be an AsyncSession; with a Session say emit_sync")
        arrival = follow_up(self.handlers, kind, payload, key=key, entity_id=entity_id, occurred_at=occurred_at)
        return self._emit(tx, arrival)

    async def _emit(self, tx: "AsyncSession", arrival: Arrival) -> Emitted:
        return await tx.run_sync(self._store, arrival)

    def emit_sync(
        self,
        tx: "Session",
        kind: str,
        payload: object,
        *,
        key: str,
        entity_id: str | None = None,
        occurred_at: dt.datetime | None = None,
    ) -> Emitted:
        """`emit` for plain functions, with the same arguments."""
        if hasattr(tx, "run_sync"):
            raise EmitError("emit_session", "tx: must be a Session; with an AsyncSession say `await receiver.emit(…)`")
        arrival = follow_up(self.handlers, kind, payload, key=key, entity_id=entity_id, occurred_at=occurred_at)
        return self._store(tx, arrival)

    def _store(self, tx: "Session", arrival: Arrival) -> Emitted:
        emitted = store_emitted(tx, arrival)
        if emitted.new and arrival.owed:
            tell_after_commit(tx, self._nudge)
        return emitted

    def _nudge(self) -> None:
        """Wake the workers, if the receiver runs in this process; callable from any thread."""
        running = self._running
        if running is not None:
            loop, service = running
            with suppress(RuntimeError):  # it has stopped meanwhile
                loop.call_soon_threadsafe(service.nudge)

    def load_settings(self) -> Settings:
        """The settings given to the constructor, or those found in the environment and the folder."""
        if self._settings is None:
            self._settings = load(self._folder)
        return self._settings

    def sources(self, settings: Settings) -> dict[str, Source]:
        """The configured accounts. Raises SettingsError, naming each setting that is wrong."""
        sources = build_sources(settings, self._folder)
        self.confirmations(sources)
        return sources

    def confirmations(self, sources: Mapping[str, Source]) -> dict[str, Confirmation]:
        """By source, what is asked before its handlers run. Raises SettingsError, naming each setting that is wrong."""
        return self._confirmations.of(sources)

    def reloaded(self) -> Settings:
        """The settings as they stand in environment and files now.

        Raises:
            SettingsError: one is wrong, or they were given to the constructor and so stand nowhere else.
        """
        if self._given:
            raise SettingsError("settings: were given by the program, so there is nothing to read again")
        return load(self._folder)

    def service(
        self,
        settings: Settings,
        sources: Mapping[str, Source] | None = None,
        *,
        clock: Clock = time.time,
        network: Network | None = None,
    ) -> Service:
        """The server's half.

        Args:
            settings: as loaded.
            sources: by name; default: those of the settings.
            clock: Unix seconds, by which signed times are judged: for tests of callbacks that were once captured.
            network: what keys are fetched over; default: the internet.
        """
        sources = self.sources(settings) if sources is None else sources
        return Service(settings, sources, self.handlers, self.metrics, clock=clock, network=network)

    def worker(self, settings: Settings, sources: Mapping[str, Source] | None = None) -> Worker:
        """The worker's half, for the events of these sources; default: those of the settings."""
        sources = self.sources(settings) if sources is None else sources
        return Worker(
            database_url=required(settings.database_url, "database_url"),
            redis_url=required(settings.redis_url, "redis_url"),
            registry=self.handlers,
            readers=readers_of(sources),
            confirmations=self.confirmations(sources),
            settings=settings,
            metrics=DispatchMetrics(self.metrics),
        )

    @asynccontextmanager
    async def lifespan(self, _app: object = None, *, work: bool = True) -> AsyncIterator[None]:
        """Run inside another application, from its start to its end.

        Args:
            _app: what FastAPI hands over; not used.
            work: run handlers in this process too; False where `receiver work` does it.
        """
        settings = self.load_settings()
        service = self.service(settings)
        try:
            async with self.guarding(settings):
                self._app = (await service.start(self.public())).app
                self._running = asyncio.get_running_loop(), service
                async with self.worker(settings) if work else nullcontext():
                    yield
        finally:
            self._app, self._running = None, None
            await service.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, mounted in another application whose lifespan includes ours."""
        if self._app is None:
            raise SettingsError("lifespan: the receiver is not running; pass receiver.lifespan to your FastAPI")
        await self._app(scope, receive, send)
