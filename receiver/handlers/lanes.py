"""Lanes: which events of a handler must stay in order with each other."""

import hashlib
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import structlog

from receiver.events import Event, length_prefixed

log = structlog.get_logger(__name__)

LaneFunction: TypeAlias = Callable[[Event], str | None]
Lane: TypeAlias = Literal["entity"] | LaneFunction
OnDead: TypeAlias = Literal["block", "pass"]

_BYTES: Final = 8


def lane_number(handler: str, event: Event, lane: Lane) -> int | None:
    """The lane of `event` in `handler`; None: in no order.

    Two names may fall on one number, once in 2**64: their events then wait for each other, which does no harm.

    Args:
        handler: its name; lanes of two handlers never meet.
        event: as it arrived.
        lane: `entity`, or a function of the event. One that raises costs nobody an event: the entity's lane is
            taken, and the log says so.
    """
    if lane == "entity":
        return _of_entity(handler, event)
    try:
        name = lane(event)
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the lane is {type(name).__name__}, not str or None")  # noqa: TRY301 - one way out
    except BaseException as error:  # noqa: BLE001 - the merchant's function; the callback must be stored all the same
        log.error("lane_failed", handler=handler, error=type(error).__name__, event_id=str(event.id))  # noqa: TRY400
        return _of_entity(handler, event)
    return None if name is None else _number(handler, "", name)


def _of_entity(handler: str, event: Event) -> int | None:
    return None if event.entity_id is None else _number(handler, event.source, event.entity_id)


def _number(*parts: str) -> int:
    digest = hashlib.sha256(b"".join(length_prefixed(part.encode("utf-8", "surrogatepass")) for part in parts))
    return int.from_bytes(digest.digest()[:_BYTES], "big", signed=True)
