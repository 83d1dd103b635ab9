"""The states of a dispatch and every transition between them. Pure.

The statements that make the transitions stand in `arrivals`, `claims`, `outcomes`, `replays` and `steps`. The table
here is what they are held to: tests make a trigger of it that refuses every other change, and the diagram in the docs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final


@unique
class State(StrEnum):
    """Where a dispatch is."""

    READY = "ready"
    """To be run when it is due."""
    WAITING = "waiting"
    """Parked behind others of its lane; no claim looks for it, whoever stands before it makes it ready."""
    LEASED = "leased"
    """A worker's, until its lease ends."""
    SUCCEEDED = "succeeded"
    """What its handler wrote is committed."""
    DEAD = "dead"
    """No further automatic run; waits for a replay."""


@unique
class Actor(StrEnum):
    """Who makes a transition."""

    INGRESS = "ingress"
    WORKER = "worker"
    OPERATOR = "operator"


@unique
class Attempts(StrEnum):
    """What becomes of the count of attempts."""

    KEPT = "kept"
    COUNTED = "one more"
    UNCOUNTED = "one less"
    ZEROED = "zero"


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One way from a state to another."""

    name: str
    before: frozenset[State]
    """From any of these; none: the row is not there yet."""
    after: State
    by: Actor
    rises: bool = False
    """The epoch rises by one, so whoever leased it before is fenced out. Otherwise it stays."""
    attempts: frozenset[Attempts] = frozenset({Attempts.KEPT})
    """One of these becomes of the attempts."""
    at_once: bool = False
    """Only in the transaction that made the state before, which nobody else has seen."""
    expired: bool = False
    """Only when the lease has ended by the database's clock."""
    when: str
    """For readers."""


UNFINISHED: Final = (State.READY, State.WAITING, State.LEASED)
"""Still owed; in a lane also what stands before others."""
ACTIVE: Final = (State.READY, State.LEASED)
"""What a claim finds by itself, once it is due or its lease has ended."""

_KEPT, _COUNTED, _UNCOUNTED, _ZEROED = (frozenset({attempts}) for attempts in Attempts)


def _from(*states: State) -> frozenset[State]:
    return frozenset(states)


TRANSITIONS: Final = (
    Transition(
        name="stored",
        before=_from(),
        after=State.READY,
        by=Actor.INGRESS,
        attempts=_ZEROED,
        when="in one commit with its event; or by a replay, for a handler that was added later",
    ),
    Transition(
        name="leased",
        before=_from(State.READY, State.WAITING),
        after=State.LEASED,
        by=Actor.WORKER,
        rises=True,
        attempts=_COUNTED,
        when="it is due; in a lane it is the oldest unfinished, and no other is leased",
    ),
    Transition(
        name="parked",
        before=_from(State.READY),
        after=State.WAITING,
        by=Actor.WORKER,
        when="an older one of its lane is unfinished, or another is leased",
    ),
    Transition(
        name="promoted",
        before=_from(State.WAITING),
        after=State.READY,
        by=Actor.WORKER,
        when="what it waited for has ended, or must come after it",
    ),
    Transition(
        name="renewed",
        before=_from(State.LEASED),
        after=State.LEASED,
        by=Actor.WORKER,
        when="it waits in its worker for a free slot",
    ),
    Transition(
        name="counted",
        before=_from(State.LEASED),
        after=State.LEASED,
        by=Actor.WORKER,
        attempts=_COUNTED,
        when="a suspect, whose attempt its lease did not count, is about to be run",
    ),
    Transition(
        name="taken over",
        before=_from(State.LEASED),
        after=State.LEASED,
        by=Actor.WORKER,
        rises=True,
        attempts=_COUNTED | _KEPT,
        expired=True,
        when="its lease has ended and nobody is running it; of a suspect the attempt is not counted yet",
    ),
    Transition(
        name="overtaken",
        before=_from(State.LEASED),
        after=State.WAITING,
        by=Actor.WORKER,
        rises=True,
        expired=True,
        when="its lease has ended, nobody is running it, and an older one of its lane has come meanwhile",
    ),
    Transition(
        name="given back",
        before=_from(State.LEASED),
        after=State.READY,
        by=Actor.WORKER,
        attempts=_UNCOUNTED | _KEPT,
        when="its worker stops, or has no use for it; of a suspect no attempt was counted",
    ),
    Transition(
        name="succeeded",
        before=_from(State.LEASED),
        after=State.SUCCEEDED,
        by=Actor.WORKER,
        when="in one commit with what its handler wrote",
    ),
    Transition(
        name="finished",
        before=_from(State.SUCCEEDED),
        after=State.SUCCEEDED,
        by=Actor.WORKER,
        at_once=True,
        when="in that same commit: a run that took more than 10 ms notes when it ended",
    ),
    Transition(
        name="disowned",
        before=_from(State.SUCCEEDED),
        after=State.DEAD,
        by=Actor.WORKER,
        when="its handler committed by SQL of its own, which no handler may: how much it wrote, nobody knows",
    ),
    Transition(
        name="retried",
        before=_from(State.LEASED),
        after=State.READY,
        by=Actor.WORKER,
        when="its handler failed, and has attempts left",
    ),
    Transition(
        name="deferred",
        before=_from(State.LEASED),
        after=State.READY,
        by=Actor.WORKER,
        attempts=_UNCOUNTED,
        when="its handler said `NotYet` or had to end because its worker did, or its event could not be confirmed yet",
    ),
    Transition(
        name="died",
        before=_from(State.LEASED),
        after=State.DEAD,
        by=Actor.WORKER,
        when="its handler failed for the last time",
    ),
    Transition(
        name="buried",
        before=_from(State.LEASED),
        after=State.DEAD,
        by=Actor.WORKER,
        attempts=_UNCOUNTED | _KEPT,
        when="its attempts were used up by workers that died, or its event is gone or not confirmed: it is not run",
    ),
    Transition(
        name="replayed",
        before=_from(State.READY, State.DEAD),
        after=State.READY,
        by=Actor.OPERATOR,
        rises=True,
        attempts=_ZEROED,
        when="and no worker is leasing it at this moment",
    ),
    Transition(
        name="replayed again",
        before=_from(State.SUCCEEDED),
        after=State.READY,
        by=Actor.OPERATOR,
        rises=True,
        attempts=_ZEROED,
        when="only if that is asked for in so many words: its effect happens once more",
    ),
)


def retrying(row: str) -> str:
    """SQL: whether `row` was run, or begun, in vain, and has its next try before it. `NotYet` counts no attempt."""
    return f"({row}.state = '{State.READY}' AND ({row}.attempts > 0 OR {row}.reason IS NOT NULL))"


def quoted(states: Iterable[State]) -> str:
    """`states` as a list of SQL literals, for the inside of `IN (…)`."""
    return ", ".join(f"'{state}'" for state in states)
