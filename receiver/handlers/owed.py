"""What an arrival owes in order: the lane that it gets with each handler that keeps one."""

import datetime as dt
from collections.abc import Callable, Sequence

import msgspec

from receiver.handlers.handler import Handler
from receiver.handlers.lanes import lane_number
from receiver.storage.arrivals import Arrival


def in_lanes(arrival: Arrival, handlers: Sequence[Handler], reader: Callable[[bytes], object]) -> Arrival:
    """The arrival with its lanes.

    Args:
        arrival: owed to `handlers`.
        handlers: those that want it, in the same order.
        reader: how its body becomes `event.data`, for lanes that are functions of the event.
    """
    if all(handler.options.lane is None for handler in handlers):
        return arrival
    owed = tuple((handler.name, _lane(arrival, handler, reader)) for handler in handlers)
    return msgspec.structs.replace(arrival, owed=owed)


def _lane(arrival: Arrival, handler: Handler, reader: Callable[[bytes], object]) -> int | None:
    lane = handler.options.lane
    if lane is None:
        return None
    event = arrival.event(handler=handler.name, attempt=0, received_at=dt.datetime.now(dt.UTC), reader=reader)
    return lane_number(handler.name, event, lane)
