"""When a failed run comes again, as a pure function; and what a handler raises to decide that itself."""

import datetime as dt
import math
from dataclasses import dataclass
from typing import Final, Literal

_MOST_ATTEMPTS: Final = 1_000
_PATIENT_CAP: Final = 600.0
_PATIENT_STEPS: Final = 10
_LONGEST: Final = 366 * 86_400.0
"""Seconds; what is to wait for longer is forgotten rather than planned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter.

    Before run n + 1 the dispatch waits a random time between zero and `first * factor ** (n - 1)`, at most `cap`.
    Full jitter, because what fails together must not come back together (AWS Architecture Blog, "Exponential Backoff
    And Jitter").

    The defaults try 20 times: at first within seconds, for the order that is written a moment after its payment;
    then every three hours or so, for the outage that somebody mends in the morning. All delays add up to 62 hours at
    most and to 31 on average:

    run       2    3    4    5    6   7   8    9    10   11   12 to 20
    at most   1 s  3 s  9 s  27 s 81 s 4 m 12 m 36 m 1.8 h 5.5 h 6 h each

    Raises:
        ValueError: a number is out of its range.
    """

    first: float = 1.0
    """Seconds, the most that the second run waits."""
    factor: float = 3.0
    """What the wait is multiplied by from run to run."""
    cap: float = 21_600.0
    """Seconds, the most that any run waits."""
    attempts: int = 20
    """Runs in all; when the last one fails the dispatch is dead."""
    jitter: Literal["full", "none"] = "full"
    """`none` waits the longest time each time."""
    patience: float = 259_200.0
    """Seconds, three days by default: how long a handler may say `NotYet` before the dispatch is dead."""

    def __post_init__(self) -> None:
        """Refuse what could not work, where it is written and not at the first failure."""
        for name in ("first", "factor", "cap", "patience"):
            _number(name, getattr(self, name))
        _number("attempts", self.attempts, int, "a whole number, an int")
        _check("first", self.first, self.first > 0)
        _check("factor", self.factor, self.factor >= 1)
        _check("cap", self.cap, self.first <= self.cap <= _LONGEST)
        _check("attempts", self.attempts, 1 <= self.attempts <= _MOST_ATTEMPTS)
        _check("patience", self.patience, 0 < self.patience <= _LONGEST)
        if self.jitter not in {"full", "none"}:
            raise ValueError(f"jitter: must be 'full' or 'none', not {self.jitter!r}")

    def delay(self, attempt: int, draw: float) -> float:
        """Seconds to wait after run number `attempt` has failed.

        Args:
            attempt: number of the run, from 1.
            draw: a random number from 0 to 1.
        """
        most = self._most(attempt - 1)
        return most * draw if self.jitter == "full" else most

    def patient_delay(self, deferrals: int, draw: float) -> float:
        """Seconds to wait after `NotYet`: 1 to 2 at first, doubling, at most 5 to 10 minutes.

        Args:
            deferrals: how often it was said before.
            draw: a random number from 0 to 1.
        """
        most = _PATIENT_CAP if deferrals >= _PATIENT_STEPS else min(2.0 ** (deferrals + 1), _PATIENT_CAP)
        return most * (1 + draw) / 2

    def _most(self, steps: int) -> float:
        # Neither the log of the quotient nor the whole power: with a tiny `first` both may be beyond every float.
        if self.factor > 1 and steps >= (math.log(self.cap) - math.log(self.first)) / math.log(self.factor):
            return self.cap
        half = steps // 2
        return min(self.first * self.factor**half * self.factor ** (steps - half), self.cap)


def _number(name: str, value: object, kind: type = float, called: str = "a number") -> None:
    """Refuse what is no number of its kind, before it is compared with one. An int will do for a float."""
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise ValueError(f"{name}: must be {called}, not {value!r}")  # noqa: TRY004 - one kind of error for all of them


def _check(name: str, value: float, holds: bool) -> None:  # noqa: FBT001 - reads as the sentence that it is
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        finite = False
    if not finite or not holds:
        raise ValueError(f"{name}: {value!r} is out of range")


def _seconds(after: float | dt.timedelta | None) -> float | None:
    seconds = after.total_seconds() if isinstance(after, dt.timedelta) else after
    if seconds is not None:
        _number("after", seconds)
        _check("after", seconds, 0 <= seconds <= _LONGEST)
    return seconds


class Retry(Exception):
    """Raised by a handler: this run came too early, run me again.

    It counts as a run; after the policy's last one the dispatch is dead.

    Args:
        after: seconds, or a timedelta; None leaves it to the policy.
        reason: why, in a few words; shown to operators.

    Raises:
        ValueError: `after` is negative, or longer than a year.
    """

    # For subclasses that do not call `__init__`, as a dataclass does not.
    after: float | None = None
    reason: str = "retry_asked"

    def __init__(self, after: float | dt.timedelta | None = None, reason: str = "retry_asked") -> None:
        """Keep the wish."""
        super().__init__(reason)
        self.after = _seconds(after)
        self.reason = reason


class NotYet(Exception):
    """Raised by a handler: what this event needs is not there yet, the order for example. Run me again, patiently.

    It uses up no attempt. Asked again after seconds at first, then every five to ten minutes, until the policy's
    `patience` is over; then the dispatch is dead.

    Args:
        reason: what is missing, in a few words; shown to operators.
        after: seconds, or a timedelta; None leaves it to the schedule.

    Raises:
        ValueError: `after` is negative, or longer than a year.
    """

    after: float | None = None
    reason: str = "not_yet"

    def __init__(self, reason: str = "not_yet", after: float | dt.timedelta | None = None) -> None:
        """Keep the wish."""
        super().__init__(reason)
        self.after = _seconds(after)
        self.reason = reason


class Dead(Exception):
    """Raised by a handler: running me again is no use. The dispatch waits for a replay.

    Args:
        reason: why, in a few words; shown to operators.
    """

    reason: str = "given_up"

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason
