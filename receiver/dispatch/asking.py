"""What a confirmation's error comes to: the event is not so, or it is asked for again, or for too long. Pure."""

from typing import Final

from receiver.dispatch.verdict import describe
from receiver.errors import ConfirmationTimedOut, ProviderUnclear
from receiver.handlers import Dead, NotConfirmed, NotYet, Retry, RetryPolicy
from receiver.storage.confirmations import Settled, Standing
from receiver.storage.outcomes import Failure

NOT_CONFIRMED: Final = "not_confirmed"
FAILED: Final = "confirmation_failed"
PAUSED: Final = "confirmation_paused"
OVERDUE: Final = "confirmation_overdue"
_REASON_LENGTH: Final = 200


class Unconfirmed(Exception):
    """No handler may run, at least not yet.

    Args:
        failure: to be recorded of the run.
        error: what the confirmation raised; None: that was told to another run.
    """

    def __init__(self, failure: Failure, error: Exception | None = None) -> None:
        """Keep what is to be recorded."""
        super().__init__(failure.reason)
        self.failure = failure
        self.error = error


def outcome_of(error: Exception | None) -> str:
    """One word for metrics."""
    if error is None:
        return "confirmed"
    if isinstance(error, (NotConfirmed, Dead)):
        return "not_confirmed"
    return "not_yet" if isinstance(error, (NotYet, Retry)) else "failed"


def refused(reason: str | None, error: str | None = None) -> Failure:
    """The event is not so. It never blocks its lane: anybody could stop a lane with what was never signed.

    Args:
        reason: the confirmation's own words.
        error: what is recorded instead, if there is more to tell.
    """
    told = f"NotConfirmed: {reason}" if error is None else error
    return Failure(dead=True, delay=0, reason=NOT_CONFIRMED, error=told, counts=False)


def again(error: Exception, standing: Standing, policy: RetryPolicy, draw: float, *, blocks: bool) -> Failure:
    """There is no answer yet.

    Args:
        error: what the confirmation raised.
        standing: how often it has been asked.
        policy: when to ask again.
        draw: a random number from 0 to 1.
        blocks: a dead one blocks its lane.
    """
    left = policy.patience - standing.asked_seconds
    if left <= 0:
        return Failure(dead=True, delay=0, reason=OVERDUE, error=describe(error), counts=False, blocks=blocks)
    if isinstance(error, (NotYet, Retry)) and error.after is not None:
        delay = error.after
    elif isinstance(error, NotYet):
        delay = policy.patient_delay(standing.asked - 1, draw)
    else:
        delay = policy.delay(standing.asked, draw)
    reason = _reason(error)
    return Failure(dead=False, delay=min(delay, left), reason=reason, error=describe(error), counts=False)


def paused(standing: Standing, policy: RetryPolicy, probe_seconds: float, draw: float) -> Failure:
    """It was not asked, for the provider does not answer; as late as if it had been, and not before the next probe."""
    delay = probe_seconds + policy.delay(standing.asked, draw)
    return Failure(dead=False, delay=delay, reason=PAUSED, error=None, counts=False)


def waits(standing: Standing, draw: float) -> Failure:
    """Another run has asked and was told to come again."""
    delay = (standing.wait_seconds or 0.0) + draw
    return Failure(dead=False, delay=max(delay, 0.0), reason=standing.reason or FAILED, error=None, counts=False)


def settled(failure: Failure, error: Exception | None) -> Settled:
    """What is stored of a failure, for the other runs of the event."""
    if failure.reason == NOT_CONFIRMED:
        return Settled(outcome="refused", reason=_clean(str(getattr(error, "reason", ""))))
    return Settled(outcome="waiting", wait_seconds=failure.delay, reason=_clean(failure.reason))


def _reason(error: Exception) -> str:
    if isinstance(error, (NotYet, Retry, ConfirmationTimedOut, ProviderUnclear)):
        return _clean(str(error.reason))
    return FAILED


def _clean(text: str) -> str:
    """As PostgreSQL can hold it."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:_REASON_LENGTH]
