"""Circuits: while most runs of a handler fail, what it needs is down, and only probes are sent. Pure but for a clock.

Without it an outage would use up the attempts of everything that is due, and hammer what is trying to come back.
Each worker judges by what it sees itself.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import structlog

log = structlog.get_logger(__name__)

WINDOW: Final = 20
"""Runs that are looked back on; with fewer nothing is judged."""
_FIRST_PROBE: Final = 1.0
_LONGEST: Final = 30.0
"""Seconds between probes: doubled from the first to this."""


class Told(Protocol):
    """Hears of circuits; see `observability/metrics.py`."""

    def circuit(self, handler: str, *, is_open: bool) -> None:
        """The circuit of a handler has opened, or is closed."""


class Circuit:
    """The circuit of one handler.

    Args:
        handler: its name.
        clock: seconds, monotonic.
        told: hears of every change.
    """

    def __init__(self, handler: str, clock: Callable[[], float], told: Told) -> None:
        self._handler = handler
        self._clock = clock
        self._told = told
        told.circuit(handler, is_open=False)
        self._failed: deque[bool] = deque(maxlen=WINDOW)
        self._pause = 0.0
        self._opened_at = 0.0
        self._probe_at = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Only probes run."""
        return self._pause > 0

    def may_run(self) -> bool:
        """Whether a run may be started now; open, that is one at each probe's time, which then moves on."""
        if not self.is_open:
            return True
        if self._clock() < self._probe_at:
            return False
        self._probing = True
        self._probe_at = self._clock() + self._pause
        return True

    def seconds_to_probe(self) -> float:
        """How long until a probe may be leased; 0: now, or it is closed."""
        return max(0.0, self._probe_at - self._clock()) if self.is_open else 0.0

    def seconds_open(self) -> float:
        """How long ago it opened; 0: it is closed."""
        return self._clock() - self._opened_at if self.is_open else 0.0

    def ran(self, *, failed: bool) -> None:
        """A run has ended. Any success closes an open circuit."""
        if not failed and self.is_open:
            self._failed.clear()
            self._pause = 0.0
            self._told.circuit(self._handler, is_open=False)
            log.warning("circuit_closed", handler=self._handler)
        self._failed.append(failed)
        if self.is_open:
            if self._probing:  # else it was under way when the circuit opened, and says nothing new
                self._wait(min(self._pause * 2, _LONGEST))
        elif failed and len(self._failed) == WINDOW and sum(self._failed) * 2 > WINDOW:
            self._opened_at = self._clock()
            self._wait(_FIRST_PROBE)
            self._told.circuit(self._handler, is_open=True)
            log.error("circuit_open", handler=self._handler)

    def _wait(self, seconds: float) -> None:
        self._probing = False
        self._pause = seconds
        self._probe_at = self._clock() + seconds
