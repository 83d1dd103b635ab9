"""Explores a model: every state that can be reached, breadth first, so that a counterexample is a shortest one."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

S = TypeVar("S")

STUCK: Final = "never finished"


class Step(NamedTuple, Generic[S]):
    """One thing that may happen next."""

    label: str
    state: S
    """What it leads to."""
    quiet: bool = True
    """It happens by itself, without a fault or another chance event: what is owed must be reached by such steps."""


@dataclass(frozen=True, kw_only=True)
class Model(Generic[S]):
    """A transition system and what is asked of it."""

    start: S
    steps: Callable[[S], Iterable[Step[S]]]
    wrong: Callable[[S], str | None]
    """Which promise a state breaks."""
    settled: Callable[[S], bool]
    """All that is owed is done."""
    same: Callable[[S], Hashable]
    """Equal for states that differ in names only: one of them is enough."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the exploration came to."""

    states: int
    broken: str | None = None
    """Which promise, or `STUCK`; None if all hold."""
    trace: tuple[str, ...] = ()
    """The steps that lead there."""
    taken: frozenset[str] = frozenset()
    """Every step that was possible anywhere."""

    def __str__(self) -> str:
        lines = [f"{self.broken or 'all holds'}, {self.states} states"]
        return "\n".join([*lines, *(f"{number:3}. {label}" for number, label in enumerate(self.trace, 1))])


class _Seen(Generic[S]):
    """The states so far, numbered in the order of their discovery, and how each was reached."""

    def __init__(self, model: Model[S]) -> None:
        self._model = model
        self._numbers: dict[Hashable, int] = {}
        self.states: list[S] = []
        self._reached: list[tuple[int, str]] = []
        self._before: list[list[int]] = []
        self._taken: set[str] = set()

    def add(self, step: Step[S], parent: int) -> int | None:
        """Note a step out of state `parent`; the new state's number, None if it was known."""
        self._taken.add(step.label)
        new = len(self.states)
        number = self._numbers.setdefault(self._model.same(step.state), new)
        if number == new:
            self.states.append(step.state)
            self._reached.append((parent, step.label))
            self._before.append([])
        if step.quiet:
            self._before[number].append(parent)
        return new if number == new else None

    def finding(self, broken: str | None = None, number: int = 0) -> Finding:
        """What was found: a promise broken in state `number`, or nothing."""
        labels = []
        while number > 0:
            number, label = self._reached[number]
            labels.append(label)
        trace, taken = tuple(reversed(labels)), frozenset(self._taken)
        return Finding(states=len(self.states), broken=broken, trace=trace, taken=taken)

    def stuck(self) -> int | None:
        """The first state from which no quiet steps lead to a settled one."""
        waiting = [number for number, state in enumerate(self.states) if self._model.settled(state)]
        hopeful = set(waiting)
        while waiting:
            fresh = [number for number in self._before[waiting.pop()] if number not in hopeful]
            hopeful.update(fresh)
            waiting.extend(fresh)
        return next((number for number in range(len(self.states)) if number not in hopeful), None)


def explore(model: Model[S]) -> Finding:
    """Visit every reachable state; stop at the first that breaks a promise, then look for any that is stuck."""
    seen = _Seen(model)
    seen.add(Step("start", model.start, quiet=False), 0)
    queue = deque([0])
    while queue:
        number = queue.popleft()
        state = seen.states[number]
        if broken := model.wrong(state):
            return seen.finding(broken, number)
        for step in model.steps(state):
            if (new := seen.add(step, number)) is not None:
                queue.append(new)
    stuck = seen.stuck()
    return seen.finding() if stuck is None else seen.finding(STUCK, stuck)
