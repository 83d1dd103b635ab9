"""What all slots of a worker share."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from receiver.dispatch.circuit import Circuit, Told
from receiver.dispatch.confirm import Confirmer
from receiver.dispatch.content import Readers
from receiver.handlers import Handler, Registry
from receiver.storage.leases import Lease


class Observer(Told, Protocol):
    """Hears of every run too; see `observability/metrics.py`."""

    def ran(self, handler: str, outcome: str, seconds: float) -> None:
        """A run ended: `succeeded`, `skipped` (done before), `retry`, `dead`, or `lost` (others took it over)."""

    def asked(self, source: str, outcome: str, seconds: float) -> None:
        """A source's confirmation has ended: `confirmed`, `not_confirmed`, `not_yet`, or `failed`."""


class Call(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A handler that runs."""

    lease: Lease
    """The first of those whose events it was given."""
    handler: Handler
    started: float
    """Seconds of the monotonic clock, as all times here."""
    several: bool = False
    """It was given a list of several events: if it fails, each is run alone before any is blamed."""

    @property
    def limit(self) -> float:
        """When its time is over."""
        return self.started + self.handler.options.timeout


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What all slots of a worker share."""

    registry: Registry
    readers: Readers
    confirmer: "Confirmer"
    """Asks before a run, where its source wants that."""
    observer: Observer
    draw: Callable[[], float]
    """Random numbers from 0 to 1."""
    due_in: Callable[[float], None]
    """Told the seconds until a failed run comes again."""
    circuits: Mapping[str, Circuit]
    """By handler: told how each run ended."""
    followed: Callable[[], None]
    """Told when something was emitted and committed that handlers want."""
    lease_seconds: float
    stopping: Callable[[], bool]
    """The worker stops: whose task ends now does so for that, and not by its handler's doing."""
    give_back: Callable[[Sequence[Lease]], Awaitable[None]]
    """Makes leases due again that were not run."""
