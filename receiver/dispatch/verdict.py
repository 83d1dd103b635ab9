"""What a failed run comes to: again at a time, or dead. Pure."""

import traceback
from pathlib import Path
from typing import Final, Protocol

from receiver.errors import (
    CommitInterrupted,
    HandlerError,
    HandlerTimedOut,
    OnceBusy,
    ReceiverError,
    StoreUnavailable,
    TransactionEnded,
)
from receiver.handlers import Dead, NotYet, Options, Retry
from receiver.storage.outcomes import Failure

_OURS: Final = str(Path(__file__).parent)
_FRAMES: Final = 5
_BUSY_SECONDS: Final = 1.0
_REASON_LENGTH: Final = 200
_ERROR_LENGTH: Final = 4_000

RAISED: Final = "handler_raised"
EXHAUSTED: Final = "attempts_exhausted"
EVENT_GONE: Final = "event_gone"
STOPPED: Final = "worker_stopped"
NEVER: Final = "not_yet_too_long"


class Tried(Protocol):
    """What a judge must know of a run; a lease is one."""

    @property
    def attempt(self) -> int:
        """Its number, from 1."""

    @property
    def deferrals(self) -> int:
        """How often the handler has said `NotYet` before."""

    @property
    def deferred_seconds(self) -> float | None:
        """How many seconds ago it said so for the first time."""


def judge(error: BaseException, run: Tried, options: Options, draw: float, *, cut: bool = False) -> Failure:
    """What a run that was ended by `error` comes to. An error that cannot be read is a failure like others.

    Args:
        error: what the handler raised, or what kept us from committing.
        run: its number, and what was before it.
        options: the handler's.
        draw: a random number from 0 to 1.
        cut: the connection to Postgres was lost in that run.
    """
    try:
        return _judge(error, run, options, draw, cut=cut)
    except Exception as fault:  # noqa: BLE001 - an exception of the handler's own may do anything
        return _judge(HandlerError(f"raised a {type(error).__name__}: {describe(fault)}"), run, options, draw, cut=cut)


def _judge(error: BaseException, run: Tried, options: Options, draw: float, *, cut: bool) -> Failure:
    told, blocks, policy = describe(error), options.on_dead == "block", options.policy
    # What a handler committed by SQL of its own is out: another run would do it again.
    if isinstance(error, (Dead, TransactionEnded)):
        ended = isinstance(error, TransactionEnded)
        return Failure(dead=True, delay=0, reason=reason_of(error), error=told, blocks=blocks, ended=ended)
    if isinstance(error, (OnceBusy, CommitInterrupted)):
        return Failure(dead=False, delay=_BUSY_SECONDS * (1 + draw), reason=error.reason, error=None, counts=False)
    if isinstance(error, NotYet):
        return _deferred(error, run, options, draw)
    if run.attempt >= policy.attempts:
        return Failure(dead=True, delay=0, reason=EXHAUSTED, error=told, blocks=blocks)
    if isinstance(error, Retry) and error.after is not None:
        return Failure(dead=False, delay=error.after, reason=reason_of(error), error=told)
    reason = reason_of(error)
    if cut and reason == RAISED:
        reason = StoreUnavailable.reason
    return Failure(dead=False, delay=policy.delay(run.attempt, draw), reason=reason, error=told)


def _deferred(error: NotYet, run: Tried, options: Options, draw: float) -> Failure:
    told = describe(error)
    left = options.policy.patience - (run.deferred_seconds or 0.0)
    if left <= 0:
        return Failure(dead=True, delay=0, reason=NEVER, error=told, blocks=options.on_dead == "block")
    delay = options.policy.patient_delay(run.deferrals, draw) if error.after is None else error.after
    return Failure(dead=False, delay=min(delay, left), reason=reason_of(error), error=told, counts=False, deferred=True)


def blames(failure: Failure, error: BaseException) -> bool:
    """Whether a failed run speaks against its handler, or what it needs: not if it chose its outcome in full view."""
    return failure.counts and not isinstance(error, (Dead, StoreUnavailable))


def stopped(error: BaseException) -> Failure:
    """What a run comes to that had to end because its worker did: due at once, and as if it had not been."""
    return Failure(dead=False, delay=0, reason=STOPPED, error=describe(error), counts=False)


def spoiled(error: BaseException) -> bool:
    """Whether a run that ended so may have left its connection in the middle of a statement."""
    return isinstance(error, HandlerTimedOut) or not isinstance(error, Exception)


def reason_of(error: BaseException) -> str:
    """A stable code for errors of ours, the handler's own words for its `Retry`, `NotYet` and `Dead`."""
    if isinstance(error, (Retry, NotYet, Dead, ReceiverError)):
        return str(error.reason)[:_REASON_LENGTH]
    return RAISED


def ended_before(error: BaseException) -> TransactionEnded:
    """What a failure comes to if its handler had committed before: it must not be run again, whatever it raised."""
    return TransactionEnded(f"a handler committed by SQL of its own, and then: {describe(error)}")


def describe(error: BaseException) -> str:
    """Type and message of `error`, and the first few places that are not ours, for the operator who reads the attempt.

    It may hold what the handler put into its message. It goes to the database, which holds the event itself, and not
    into logs.
    """
    try:
        told = traceback.TracebackException.from_exception(error, compact=True)
        message = "".join(told.format_exception_only())
    except Exception:  # noqa: BLE001 - an exception of the handler's own may do anything
        return type(error).__name__
    own = [frame for frame in told.stack if not frame.filename.startswith(_OURS)]
    text = message + "".join(traceback.StackSummary.from_list(own[:_FRAMES]).format())
    return text[:_ERROR_LENGTH].rstrip()
