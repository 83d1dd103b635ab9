"""Puts the hot path together: sources, inbox, marks and the application in front of FastAPI."""

import asyncio
import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from receiver.app.upkeep import keep_partitions
from receiver.certificates import Keyring, Network, Shelf
from receiver.errors import SettingsError
from receiver.handlers import Registry
from receiver.inbox import Inbox
from receiver.ingress import Callbacks, Clock, Intake, protocol_for
from receiver.marks import KeptKeys, Marks, connect
from receiver.observability.metrics import IngressMetrics
from receiver.settings import Settings
from receiver.sources import Source
from receiver.storage.engine import make_engine

# Batches and requests make short-lived cycles of many objects: collecting at the default threshold stops the loop
# for milliseconds again and again (p99 47 -> 11 ms when measured).
_GC_THRESHOLDS: Final = (50_000, 20, 50)


def required(value: str | None, name: str) -> str:
    """`value`, or a SettingsError that says how to give it."""
    if not value:
        raise SettingsError(
            f"{name}: is not set; say RECEIVER_{name.upper()}=…, or use the embedded servers with --embedded DIR"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class Doors:
    """The two ways in."""

    app: ASGIApp
    """The ASGI door, for any server."""
    protocol: type[asyncio.Protocol]
    """The fast door, for a listener of ours; what does not fit through it takes the other."""


class Service:
    """What one server process holds while it runs.

    Args:
        settings: both URLs must be set.
        sources: by name.
        handlers: decides which dispatch rows an event gets.
        metrics: where the counts go.
        clock: Unix seconds, by which signed times are judged.
        network: what keys are fetched over; default: the internet.
    """

    def __init__(
        self,
        settings: Settings,
        sources: Mapping[str, Source],
        handlers: Registry,
        metrics: CollectorRegistry,
        *,
        clock: Clock = time.time,
        network: Network | None = None,
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._handlers = handlers
        self._metrics = IngressMetrics(metrics)
        self._clock = clock
        self._network = network
        self._keyring: Keyring | None = None
        self._engine: AsyncEngine | None = None
        self._inbox: Inbox | None = None
        self._intake: Intake | None = None
        self._marks: Marks | None = None
        self._partitions: asyncio.Task[None] | None = None

    async def start(self, inner: ASGIApp) -> Doors:
        """Connect; returns the doors, which pass what is no callback to `inner`.

        A Postgres or Redis that is not there yet is no error: callbacks are answered 503 until Postgres is.
        """
        settings = self._settings
        self._engine = make_engine(
            required(settings.database_url, "database_url"),
            name="receiver-ingress",
            size=3,  # the flushes, the tally, the quarantine
            settings={"lock_timeout": "2s", "idle_in_transaction_session_timeout": "10s"},
        )
        client = connect(required(settings.redis_url, "redis_url"), timeout=settings.redis_timeout)
        self._marks = Marks(client, ttl=settings.mark_ttl)
        self._inbox = Inbox(self._engine, self._marks, limit=settings.queue_limit)
        self._metrics.depth.set_function(lambda: self._inbox.depth if self._inbox else 0)
        await self._inbox.open()
        self._partitions = await keep_partitions(self._engine)
        self._keyring = Keyring(
            Shelf(KeptKeys(client), settings.certificate_folder),
            self._metrics,
            clock=self._clock,
            network=self._network,
        )
        self._intake = Intake(
            keyring=self._keyring,
            inbox=self._inbox,
            sources=self._sources,
            wanting=self._handlers.wanting,
            metrics=self._metrics,
            body_limit=settings.body_limit,
            answer_deadline=settings.answer_deadline,
            clock=self._clock,
        )
        return Doors(
            app=Callbacks(inner, intake=self._intake, body_deadline=settings.body_deadline),
            protocol=protocol_for(self._intake, body_deadline=settings.body_deadline),
        )

    def serve(self, sources: Mapping[str, Source]) -> None:
        """Take callbacks of these sources from now on, by name; what is under way is finished as it began."""
        self._sources = sources
        if self._intake is not None:
            self._intake.serve(sources)

    def nudge(self) -> None:
        """Wake the workers: something is due that this process has not taken itself."""
        if self._marks is not None:
            self._marks.nudge()

    async def close(self) -> None:
        """Commit what waits, then let go of Postgres and Redis."""
        if self._partitions is not None:
            self._partitions.cancel()
        if self._keyring is not None:
            await self._keyring.close()
        if self._intake is not None:
            await self._intake.drain()
        if self._inbox is not None:
            await self._inbox.close()
        if self._marks is not None:
            await self._marks.close()
        if self._engine is not None:
            await self._engine.dispose()


def settle_garbage() -> None:
    """Move all that lives for the program's life out of the collector's sight. For programs of ours only."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
