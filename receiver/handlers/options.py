"""How a handler is to be run: all that `on` takes beside what it wants."""

import inspect
import math
from dataclasses import dataclass
from typing import Final

from receiver.handlers.lanes import Lane, OnDead
from receiver.handlers.policy import RetryPolicy

MOST_BATCH: Final = 100
DEFAULT_TIMEOUT: Final = 300.0
"""Seconds: a handler that hangs must not hold its dispatch for ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a handler is to be run.

    Raises:
        ValueError: one of them could not work.
    """

    policy: RetryPolicy
    timeout: float = DEFAULT_TIMEOUT
    """Seconds that one run may take."""
    lane: Lane | None = None
    """What keeps its events in order; None: nothing does."""
    on_dead: OnDead = "pass"
    """Whether a dead dispatch blocks its lane until it is replayed."""
    concurrency: int | None = None
    """Runs at once in one worker; None: as many as the worker has slots."""
    raw: bool = False
    """It is lent a `RawTransaction` instead of a session."""
    batch: int = 1
    """Most of its events that are completed in one transaction."""
    as_list: bool = False
    """It is called once for all events of a batch, with a list of them."""

    def __post_init__(self) -> None:
        """Refuse what could not work, where it is written."""
        _typed("retry", self.policy, RetryPolicy)
        _typed("timeout", self.timeout, int, float)
        _typed("batch", self.batch, int)
        _typed("raw", self.raw, bool)
        _typed("as_list", self.as_list, bool)
        if self.concurrency is not None:
            _typed("concurrency", self.concurrency, int)
        if math.isnan(self.timeout) or self.timeout <= 0:
            raise ValueError(f"timeout must be seconds above zero, not {self.timeout!r}")
        if self.lane is not None and self.lane != "entity" and not callable(self.lane):
            raise ValueError(f"lane must be 'entity' or a function of the event, not {self.lane!r}")
        if inspect.iscoroutinefunction(self.lane):
            raise ValueError("lane must be a plain function: it runs where the callback is taken, and is not awaited")
        if self.on_dead not in {"block", "pass"}:
            raise ValueError(f"on_dead must be 'block' or 'pass', not {self.on_dead!r}")
        if self.on_dead == "block" and self.lane is None:
            raise ValueError("on_dead='block' needs a lane to block: say lane='entity', or a function of the event")
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {self.concurrency!r}")
        if not 1 <= self.batch <= MOST_BATCH:
            raise ValueError(f"batch must be 1 to {MOST_BATCH}, not {self.batch!r}")
        if self.as_list and self.batch == 1:
            raise ValueError("as_list=True needs to know how long a list may be: say batch=20, for example")


def _typed(name: str, value: object, *kinds: type) -> None:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{name} must be {wanted}, not {value!r}")
