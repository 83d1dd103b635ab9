"""What a source's confirmation is, and what it may say: it asks the provider whether an event is so."""

import inspect
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from receiver.errors import HandlerError
from receiver.events import Event
from receiver.handlers.handler import called, place
from receiver.handlers.policy import RetryPolicy

DEFAULT_TIMEOUT: Final = 10.0
"""Seconds: what asks the provider holds a slot of its worker meanwhile."""
DEFAULT_POLICY: Final = RetryPolicy(cap=600.0)
"""An outage costs no event more than ten minutes after its end."""
_LONGEST_ONCE: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """Returned by a confirmation: the event is so.

    Raises:
        ValueError: `once` is no text of 1 to 200 characters that can be stored.
    """

    data: object = None
    """What the provider said: `event.confirmed` of each handler. What JSON can say; at most 1 MiB of it."""
    once: str | None = None
    """For callbacks that cannot be told apart: of all events about one entity with this value each handler runs once,
    for example `paid`. None: each event is handled."""

    def __post_init__(self) -> None:
        """Refuse what could not be stored."""
        if not _storable(self.once):
            raise ValueError(f"once: must be text of 1 to {_LONGEST_ONCE} characters, without NUL and lone surrogates")


class NotConfirmed(Exception):
    """Raised by a confirmation: the event is not so. No handler runs; what was owed is dead, as `not_confirmed`.

    Args:
        reason: why, in a few words; shown to operators.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


ConfirmFunction: TypeAlias = Callable[[Event], Awaitable[Confirmed]]
AnyConfirmFunction = TypeVar("AnyConfirmFunction", bound=ConfirmFunction)

Close: TypeAlias = Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """Nothing to close."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmation:
    """How the events of a source are confirmed.

    Raises:
        HandlerError: it could not work.
    """

    function: ConfirmFunction
    timeout: float = DEFAULT_TIMEOUT
    """Seconds that asking once may take."""
    policy: RetryPolicy = field(default=DEFAULT_POLICY)
    """When it is asked again after an error: `patience` says for how long, `attempts` counts nothing."""
    close: Close = _nothing
    """Called when the worker ends."""

    def __post_init__(self) -> None:
        """Refuse what could not work, where it is written."""
        label = f"confirm {place(self.function)}"
        if not inspect.iscoroutinefunction(called(self.function)):
            raise HandlerError(f"{label}: must be `async def confirm(event)`; it waits for the provider")
        try:
            inspect.signature(self.function).bind(object())
        except (TypeError, ValueError):
            raise HandlerError(f"{label}: must take exactly one argument, the event") from None
        if not _is_time(self.timeout):
            raise HandlerError(f"{label}: timeout must be seconds above zero, not {self.timeout!r}")
        if type(self.policy) is not RetryPolicy:
            raise HandlerError(f"{label}: retry must be a RetryPolicy, not {self.policy!r}")


def _is_time(seconds: object) -> bool:
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < math.inf


def _storable(once: object) -> bool:
    if once is None:
        return True
    if not isinstance(once, str) or not 0 < len(once) <= _LONGEST_ONCE:
        return False
    return "\0" not in once and once == once.encode("utf-8", "ignore").decode()
