"""The protocol as a model: who may do what next, what must never be, and what all must come to."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from tests.model.explore import Model
from tests.model.faults import faults
from tests.model.ingress import ingress
from tests.model.rules import Rules
from tests.model.state import Server, State, Step, Worker, same
from tests.model.work import work

UNSTORED: Final = "acknowledged and not stored"
HANDLED_TWICE: Final = "handled twice"
CHARGED_TWICE: Final = "charged twice"


def model(rules: Rules) -> Model[State]:
    """All servers connected, nothing called yet."""
    start = State(
        servers=(Server(timeline=1),) * rules.servers, workers=(Worker(),) * rules.workers, troubles=rules.troubles
    )
    return Model(start=start, steps=partial(_steps, rules=rules), wrong=_wrong, settled=_settled, same=same)


def _steps(state: State, rules: Rules) -> Iterator[Step]:
    yield from ingress(state, rules)
    yield from work(state, rules)
    yield from faults(state, rules)


def _wrong(state: State) -> str | None:
    if state.heard and not state.row.born:
        return UNSTORED
    if state.row.effects > 1:
        return HANDLED_TWICE
    return CHARGED_TWICE if len(state.charges) > 1 else None


def _settled(state: State) -> bool:
    """Acknowledged, stored, handled once, and nobody has anything left to do."""
    done = state.heard and state.row.state == "succeeded" and state.row.effects == 1
    return done and _at_rest(state)


def _at_rest(state: State) -> bool:
    idle = all(server.phase == "idle" for server in state.servers)
    return idle and all(worker.phase == "idle" for worker in state.workers)
