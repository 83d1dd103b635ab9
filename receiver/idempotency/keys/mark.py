"""What a route says to have keys: a mark on its function, and a dependency that claims the key before it runs.

The dependency is the last one: whoever may not call the route is refused by those before it, and hears no response of
anybody else's.
"""

import datetime as dt
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, ParamSpec, Protocol, TypeVar

from fastapi import Depends, Header, Request

from receiver.errors import HandlerError
from receiver.idempotency.keys.header import HEADER
from receiver.idempotency.keys.key import SCOPE, IdempotencyKey
from receiver.idempotency.parameter import with_parameter

P = ParamSpec("P")
T = TypeVar("T")

RUN: Final = "receiver.keyed"
"""Where in an ASGI scope the guard of a route leaves what claims."""
_DESCRIPTION: Final = (
    "1 to 255 printable ASCII characters that are new with each request, and the same when it is repeated"
)
_MARK: Final = "__receiver_keyed__"
_LONGEST_SCOPE: Final = 200 - len(SCOPE)
SHORTEST: Final = dt.timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """What a route says."""

    scope: str
    required: bool
    caller: Callable[[Request], str | None] | None
    retention: dt.timedelta
    lease: dt.timedelta
    body_limit: int
    """Bytes of a request's body."""
    response_limit: int
    """Bytes of a response's body that are kept."""

    def __post_init__(self) -> None:
        if not 0 < len(self.scope) <= _LONGEST_SCOPE or "\0" in self.scope or not self.scope.isprintable():
            raise HandlerError(f"keyed: scope must be text of 1 to {_LONGEST_SCOPE} printable characters")
        if min(self.retention, self.lease) < SHORTEST:
            raise HandlerError("keyed: retention and lease must be a second or more")
        if min(self.body_limit, self.response_limit) < 0:
            raise HandlerError("keyed: limits must not be negative")


class Run(Protocol):
    """What the guard of a route leaves in the scope."""

    async def claim(self, request: Request) -> IdempotencyKey | None:
        """Claim the request's key; None if it has none and needs none."""


def mark(keyed: Keyed, function: Callable[P, T]) -> Callable[P, T]:
    """`function` with the mark; a parameter of the type `IdempotencyKey` is handed the key.

    Raises:
        HandlerError: it cannot be marked; the message says why.
    """

    async def claimed(
        request: Request, _header: Annotated[str | None, Header(alias=HEADER, description=_DESCRIPTION)] = None
    ) -> IdempotencyKey | None:
        run: Run | None = request.scope.get(RUN)
        if run is None:
            raise HandlerError(
                f"{function.__qualname__}: has no guard; call receiver.install(app) behind the last route"
            )
        return await run.claim(request)

    if keyed.required:  # the guard has seen to that; this is for the schema
        first, header = inspect.signature(claimed).parameters.values()
        vars(claimed)["__signature__"] = inspect.Signature([first, header.replace(default=inspect.Parameter.empty)])
    made = with_parameter(function, IdempotencyKey, Annotated[IdempotencyKey | None, Depends(claimed)])
    vars(made)[_MARK] = keyed
    return made


def mark_of(endpoint: object) -> Keyed | None:
    """What the endpoint of a route says; None if it says nothing."""
    found = getattr(endpoint, _MARK, None)
    return found if isinstance(found, Keyed) else None
