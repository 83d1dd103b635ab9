"""What a failed run comes to: again at a time, or dead. Pure."""

import traceback
from typing import Final

from receiver.errors import ReceiverError, TransactionEnded
from receiver.handlers import Dead, Retry, RetryPolicy
from receiver.storage.outcomes import Failure

_FRAMES: Final = 5
_REASON_LENGTH: Final = 200
_ERROR_LENGTH: Final = 4_000

RAISED: Final = "handler_raised"
TIMEOUT: Final = "timeout"
EXHAUSTED: Final = "attempts_exhausted"
EVENT_GONE: Final = "event_gone"
STOPPED: Final = "worker_stopped"
CUT: Final = "database_lost"


def judge(error: BaseException, attempt: int, policy: RetryPolicy, draw: float) -> Failure:
    """What run number `attempt`, ended by `error`, comes to.

    Args:
        error: what the handler raised, or what kept us from committing.
        attempt: the run's number, from 1.
        policy: the handler's.
        draw: a random number from 0 to 1.
    """
    reason = reason_of(error)
    after = error.after if isinstance(error, Retry) else None
    delay = policy.delay(attempt, draw) if after is None else after
    # What a handler committed by SQL of its own is out: another run would do it again.
    if isinstance(error, (Dead, TransactionEnded)):
        return Failure(dead=True, delay=0, reason=reason, error=describe(error))
    if attempt >= policy.attempts:
        return Failure(dead=True, delay=0, reason=EXHAUSTED, error=describe(error))
    return Failure(dead=False, delay=delay, reason=reason, error=describe(error))


def reason_of(error: BaseException) -> str:
    """A stable code for errors of ours, the handler's own words for its `Retry` and `Dead`."""
    if isinstance(error, (Retry, Dead, ReceiverError)):
        return str(error.reason)[:_REASON_LENGTH]
    return RAISED


def describe(error: BaseException) -> str:
    """Type, message and the last few places of `error`, for the operator who reads the attempt.

    It may hold what the handler put into its message. It goes to the database, which holds the event itself, and not
    into logs.
    """
    told = traceback.TracebackException.from_exception(error, limit=-_FRAMES, compact=True)
    text = "".join(told.format_exception_only()) + "".join(told.stack.format())
    return text[:_ERROR_LENGTH].rstrip()
