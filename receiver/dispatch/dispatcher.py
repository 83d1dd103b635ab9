"""Puts feed and slots together: start, heartbeat, drain."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from receiver.dispatch.bench import Bench
from receiver.dispatch.confirm import Confirmer
from receiver.dispatch.content import Readers
from receiver.dispatch.feed import Feed
from receiver.dispatch.parts import Observer, Parts
from receiver.dispatch.quotas import Quotas
from receiver.dispatch.slot import Slot
from receiver.dispatch.standstill import Standstill
from receiver.errors import StoreUnavailable
from receiver.handlers import Registry
from receiver.storage.batches import BatchConnection
from receiver.storage.leases import Lease, LeaseConnection
from receiver.storage.workers import Closed

log = structlog.get_logger(__name__)

_BEATS_PER_LEASE: Final = 3
_LAST_SECONDS: Final = 5.0
"""For a cancelled handler to unwind and its outcome to be recorded."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much, how often and for how long; all times in seconds."""

    concurrency: int
    """Handlers that run at once."""
    lease_seconds: float
    poll_seconds: float
    grace_seconds: float
    """What running handlers get when the dispatcher stops."""


class Dispatcher:
    """Runs due dispatches from `start` to `stop`.

    Args:
        registry: dispatches of other handlers are left untouched.
        readers: by source, how bodies become `event.data`.
        limits: how much, how often and for how long.
        leases: the connection for leasing.
        connect: makes a connection for a slot.
        heard: set from outside when something may be due.
        followed: called when a run has emitted something that handlers want, after its commit.
        confirmer: asks before a run, where its source wants that.
        observer: hears of every run and every circuit.
        draw: random numbers from 0 to 1.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        readers: Readers,
        limits: Limits,
        leases: LeaseConnection,
        connect: Callable[[], BatchConnection],
        heard: asyncio.Event,
        followed: Callable[[], None],
        confirmer: Confirmer,
        observer: Observer,
        draw: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._leases = leases
        self._heard = heard
        self._quotas = Quotas(registry, observer)
        self._confirmer = confirmer
        self._feed = Feed(
            leases,
            self._quotas,
            slots=limits.concurrency,
            heard=heard,
            poll_seconds=limits.poll_seconds,
            draw=draw,
        )
        parts = Parts(
            registry=registry,
            readers=readers,
            confirmer=confirmer,
            observer=observer,
            draw=draw,
            circuits=self._quotas.circuits,
            due_in=self._due_in,
            followed=followed,
            stopping=lambda: self._feed.stopping,
            give_back=self._return,
            lease_seconds=limits.lease_seconds,
        )
        self._bench = Bench(limits.lease_seconds)
        self._standstill = Standstill(self._bench)
        self._slots = [Slot(f"receiver-handler-{n}", connect(), parts) for n in range(limits.concurrency)]
        self._suspects_slot = Slot("receiver-suspects", connect(), parts)
        self._tasks: list[asyncio.Task[None]] = []
        self._touches: set[asyncio.Task[None]] = set()
        self._feeding: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """How many runs are under way."""
        return self._feed.line.busy + self._feed.suspects.busy

    def closed(self) -> tuple[Closed, ...]:
        """The handlers, and the sources' confirmations, of which nothing but probes runs: their circuit is open."""
        return tuple(
            Closed(handler=name, open_seconds=circuit.seconds_open(), probe_seconds=circuit.seconds_to_probe())
            for name, circuit in {**self._quotas.circuits, **self._confirmer.circuits}.items()
            if circuit.is_open
        )

    def start(self) -> None:
        """Begin to lease and run."""
        self._feeding = asyncio.create_task(self._feed.run(), name="receiver-feed")
        for slot in self._slots:
            self._bench.seat(slot, self._feed.line)
        self._bench.seat(self._suspects_slot, self._feed.suspects)
        self._tasks = [asyncio.create_task(self._bench.watch(), name="receiver-bench")]
        self._tasks.append(asyncio.create_task(self._beat(), name="receiver-heartbeat"))
        self._standstill.start()

    async def stop(self) -> None:
        """Lease no more, give back what has not begun, let running handlers finish, cancel those that take too long."""
        self._feed.stop()
        self._standstill.stop()
        if self._feeding is not None:
            await asyncio.wait([self._feeding], timeout=_LAST_SECONDS)
            self._feeding.cancel()
        await self._give_back()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.grace_seconds):
                await self._feed.quiet()
        await self._cancel()
        await self._bench.clear(_LAST_SECONDS)
        await self._cancel()  # for a Postgres that does not answer
        self._bench.let_go()
        await self._give_back()  # what was to follow a run that was cancelled
        for slot in self._bench:
            await slot.close()
        await asyncio.gather(*self._touches)
        await self._leases.close()

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        pending = [task for task in (*self._tasks, *self._bench.cancel()) if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=_LAST_SECONDS)

    async def _beat(self) -> None:
        """Keep alive what waits for a slot, and transactions whose handlers are busy elsewhere; end those of nobody.

        A run needs no renewal: the lock on its dispatch keeps others off, for as long as its transaction lives.
        """
        while True:
            await asyncio.sleep(self._limits.lease_seconds / _BEATS_PER_LEASE)
            for slot in self._bench:
                touch = asyncio.create_task(slot.touch())
                self._touches.add(touch)
                touch.add_done_callback(self._touches.discard)
            await _tried(self._leases.renew(list(self._feed.held)), "leases_not_renewed")
            await _tried(self._leases.end_deaf(), "deaf_sessions_not_ended")

    async def _give_back(self) -> None:
        await self._return(self._feed.drain())

    async def _return(self, leases: Sequence[Lease]) -> None:
        try:
            await self._leases.give_back(leases)
        except StoreUnavailable:
            log.warning("leases_not_given_back", count=len(leases))

    def _due_in(self, seconds: float) -> None:
        """Look again when a retry falls due, if that is before the next poll."""
        if seconds < self._limits.poll_seconds:
            asyncio.get_running_loop().call_later(seconds, self._heard.set)


async def _tried(call: Awaitable[None], failed: str) -> None:
    try:
        await call
    except Exception as error:  # noqa: BLE001 - a fault of ours must not end the heartbeat in silence
        log.warning(failed, error=type(error.__cause__ or error).__name__)
