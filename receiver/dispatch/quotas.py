"""How many dispatches of which handler to lease next: fair among them, within their limits, past closed doors."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

from receiver.dispatch.circuit import Circuit, Told
from receiver.dispatch.turns import Turns
from receiver.handlers import Registry
from receiver.storage.leases import Ask, Claim, Lease

_STRETCH: Final = 4
_MOST_LOOK: Final = 1_024
_MOST_LEASED: Final = 512


class Quotas:
    """What to ask of each handler.

    Args:
        registry: all that this worker runs.
        told: hears of circuits.
    """

    def __init__(self, registry: Registry, told: Told) -> None:
        self.circuits = {name: Circuit(name, time.monotonic, told) for name in registry.names()}
        self._limits = {handler.name: handler.options.concurrency for handler in registry}
        self.batches = {handler.name: handler.options.batch for handler in registry}
        """By handler: how many of it a slot takes at once."""
        self.turns = Turns(registry)
        self._held: Counter[str] = Counter()
        self._suspects: Counter[str] = Counter()
        """How many of those are suspects."""
        self._backlogged: set[str] = set()
        self._stretch: dict[str, int] = {}

    def ask(self, room: int) -> dict[str, Ask]:
        """How much to lease of each handler when there is room for `room` slots in all.

        Those that had more than was asked of them share the room, so that none can starve the others.
        """
        share = max(1, room // max(1, len(self._backlogged)))
        asked = {}
        for name, circuit in self.circuits.items():
            most = min(share * self.batches[name], self._left(name, room), _MOST_LEASED)
            if circuit.is_open:
                most = 1 if circuit.seconds_to_probe() == 0 and not self._held[name] else 0
            if most > 0:
                asked[name] = Ask(most, min(most * self._stretch.get(name, 1), _MOST_LOOK))
        return asked

    def heard(self, asked: Mapping[str, Ask], claim: Claim) -> bool:
        """Learn from the answer; whether there may be more that is due now."""
        got = Counter(lease.handler for lease in claim.leases)
        self._held += got
        self._suspects.update(lease.handler for lease in claim.leases if lease.suspect)
        full = {name for name, ask in asked.items() if claim.seen.get(name, 0) >= ask.look}
        self._backlogged = full
        # Many of few lanes: look further for those that need not wait.
        self._stretch = {
            name: self._stretch.get(name, 1) * _STRETCH if asked[name].look < _MOST_LOOK else self._stretch[name]
            for name in full
            if got[name] * 2 < claim.seen[name]
        }
        return bool(full)

    def done(self, lease: Lease) -> bool:
        """One that was leased is held no more; whether something else may run now that could not before."""
        self._held[lease.handler] -= 1
        self._suspects[lease.handler] -= lease.suspect
        return lease.lane is not None or self._limits[lease.handler] is not None

    def load(self) -> float:
        """How many slots all that is held takes, but for suspects, which have one of their own."""
        return sum((count - self._suspects[name]) / self.batches[name] for name, count in self._held.items())

    def seconds_to_probe(self) -> float | None:
        """How long until a probe may be leased that may not be leased now; None: nothing waits for one."""
        waits = (circuit.seconds_to_probe() for circuit in self.circuits.values())
        # Whose time has come is running, or was asked for in vain: it is polled for, like all else.
        return min((seconds for seconds in waits if seconds > 0), default=None)

    def _left(self, name: str, room: int) -> int:
        limit, batch = self._limits[name], self.batches[name]
        return room * batch if limit is None else limit * batch - self._held[name]
