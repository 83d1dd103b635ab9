"""Which events a handler was never owed and wants, and the lane of each: what a replay creates."""

from collections.abc import Sequence
from typing import Final

from receiver.dispatch.content import Readers, to_candidate_event
from receiver.events import lane_time
from receiver.handlers import Handler, lane_number
from receiver.storage.steps import Candidate, Content, Missing, Step

_BODIES: Final = 16
"""Held at once: a body may have a megabyte."""


def wanted(handler: Handler, candidate: Candidate) -> bool:
    """Whether `handler` should be owed this event and is not."""
    return candidate.state is None and handler.wants(candidate.source, candidate.provider, candidate.type)


async def missing(step: Step, handler: Handler, events: Sequence[Candidate], readers: Readers) -> list[Missing]:
    """The dispatches of `events`, each in the lane that ingress would have given it.

    Args:
        step: reads bodies where a lane's function may look into them.
        handler: wants all of them.
        events: in their order.
        readers: by source, how bodies become `event.data`.
    """
    found: list[Missing] = []
    for first in range(0, len(events), _BODIES):
        some = events[first : first + _BODIES]
        contents = await step.contents([one.id for one in some]) if callable(handler.options.lane) else {}
        found += [_missing(handler, one, contents.get(one.id, _EMPTY), readers) for one in some]
    return found


_EMPTY: Final = Content(headers="{}", body=b"")


def _missing(handler: Handler, candidate: Candidate, content: Content, readers: Readers) -> Missing:
    lane = handler.options.lane
    event = to_candidate_event(candidate, content, handler.name, readers)
    number = None if lane is None else lane_number(handler.name, event, lane)
    at = lane_time(candidate.occurred_at, candidate.trust) or candidate.received_at
    return Missing(event_id=candidate.id, lane=number, lane_at=None if number is None else at)
