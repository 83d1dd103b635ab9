"""One run of a handler, in the transaction of a test."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from receiver.app.receiver import Receiver
from receiver.dispatch.call import Caller, stops_us
from receiver.dispatch.verdict import judge, spoiled
from receiver.errors import HandlerError
from receiver.events import Event, parse_exactly
from receiver.handlers import Handler, Registry
from receiver.storage.arrivals import Arrival
from receiver.storage.trials import Trial

_LONGEST: Final = 1.0
"""The draw for the longest delay: a test wants the same one each time."""


@dataclass(frozen=True)
class _Tried:
    attempt: int
    deferrals: int = 0
    deferred_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to, as the worker would have recorded it."""

    state: Literal["succeeded", "retry", "dead"]
    reason: str | None = None
    """Why it failed: the handler's own words for `Retry`, `NotYet` and `Dead`, else a stable code."""
    delay: float | None = None
    """Of a retry: seconds until the next run, the longest that the policy's jitter allows."""
    error: BaseException | None = None
    """What the handler raised, or what the commit would have raised."""
    emitted: tuple[Event, ...] = ()
    """What the handler emitted, in this order; empty if it failed. Not in it: what was emitted before already."""


async def run_handler(
    receiver: Receiver,
    event: Event | Sequence[Event],
    tx: AsyncSession | AsyncConnection,
    *,
    handler: str | None = None,
) -> Outcome:
    """Run the handler that wants this event, once, as the worker does.

    So: its session refuses `commit()` and `rollback()`, it has its timeout, a plain function runs in a thread, what is
    left in the session is flushed, and deferred constraints are checked. Nothing reads or writes the receiver's own
    tables, so they need not be there, unless the handler emits.

    It runs in the transaction that is open on `tx`, behind a savepoint. If it succeeds what it wrote is visible there,
    and nowhere else until you commit; roll back, and the next test finds nothing. If it fails it is rolled back to the
    savepoint. All objects in your session are expired: get or refresh them.

    A run that is timed out or cancelled takes its connection with it, as at the worker, and so your transaction: roll
    back before you go on.

    Args:
        receiver: on which the handler is registered.
        event: `event.attempt` is the number of the run, so that the last one can be tried too. A handler that takes a
            list is given a list of it; or say several, and it gets all of them, as in a batch. If that fails, the
            worker would run each alone: the outcome is that of the call, and its attempt that of the first.
        tx: an `AsyncSession` or `AsyncConnection` on PostgreSQL, through asyncpg; also for handlers that are `def`.
        handler: its name; needed where several want the event.

    Raises:
        HandlerError: no handler wants this event, or several do and none is named; or there are several events, or
            none, and the handler cannot be given them together; or an argument is something else.
    """
    _check_kind("receiver", receiver, Receiver)
    _check_kind("tx", tx, AsyncSession, AsyncConnection)
    events = [event] if isinstance(event, Event) else _listed(event)
    if not events:
        raise HandlerError("an empty list of events: a handler is given one at least")
    chosen = [_chosen(receiver.handlers, each, handler) for each in events]
    _check_together(chosen)
    return await _run(chosen[0], [replace(each, handler=chosen[0].name) for each in events], await Trial.begin(tx))


def _check_kind(name: str, given: object, *kinds: type) -> None:
    if not isinstance(given, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise HandlerError(f"{name}: must be {wanted}, not {type(given).__name__}")


def _listed(events: Sequence[Event]) -> list[Event]:
    _check_kind("event", events, Event, Sequence)
    for each in events:
        _check_kind("event", each, Event)
    return list(events)


def _check_together(chosen: Sequence[Handler]) -> None:
    first = chosen[0]
    most = first.options.batch if first.options.as_list else 1
    if len(chosen) > most:
        raise HandlerError(f"handler {first.name!r} is given {most} event(s) at most, not {len(chosen)}")
    if other := next((each for each in chosen if each is not first), None):
        raise HandlerError(f"these events are wanted by {first.name!r} and {other.name!r}; name one: handler=…")


async def _run(handler: Handler, events: list[Event], trial: Trial) -> Outcome:
    caller = Caller("receiver-testing")
    try:
        await caller.call(handler, events, trial)
        await trial.keep()
    except BaseException as error:
        cut = trial.cut
        await (trial.discard() if spoiled(error) else trial.undo())
        if stops_us(error):
            raise
        failure = judge(error, _Tried(events[0].attempt), handler.options, _LONGEST, cut=cut)
        if failure.dead:
            return Outcome(state="dead", reason=failure.reason, error=error)
        return Outcome(state="retry", reason=failure.reason, delay=failure.delay, error=error)
    finally:
        caller.close()
    return Outcome(state="succeeded", emitted=tuple(_follow_up(*each) for each in trial.emitted))


def _follow_up(arrival: Arrival, received_at: dt.datetime) -> Event:
    return arrival.event(handler="handler", attempt=1, received_at=received_at, reader=parse_exactly)


def _chosen(registry: Registry, event: Event, name: str | None) -> Handler:
    """The handler that would be given the event."""
    wanting = [handler.name for handler in registry.wanting(event.source, event.provider, event.type)]
    label = f"{event.type!r} of {event.source!r}"
    if name is not None and name not in wanting:
        raise HandlerError(f"no handler {name!r} wants {label}; wanted by: {', '.join(wanting) or 'nobody'}")
    if name is None and len(wanting) != 1:
        raise HandlerError(f"{label} is wanted by {', '.join(wanting) or 'no handler'}; one is needed, or handler=…")
    return registry.get(name or wanting[0])
