"""What a route says to be run once for each issued token: a dependency of FastAPI's, and a decorator."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Final, ParamSpec, TypeVar

from fastapi import Request
from fastapi.params import Depends

from receiver.idempotency.claim import Claim
from receiver.idempotency.desk import Desks
from receiver.idempotency.parameter import with_parameter

P = ParamSpec("P")
T = TypeVar("T")

HEADER: Final = "Idempotency-Token"


class Idempotent(Depends):
    """Runs a route once for each token: takes the token, runs the route, and uses the token up or gives it back.

    As a parameter, `claim: Annotated[Claim, receiver.idempotent(scope="orders")]`; without one in
    `dependencies=[receiver.idempotent(scope="orders")]`; or as a decorator below the route's own.

    Args:
        desks: where tokens are handed in.
        scope: what its tokens are issued for.
        header: the name of the header that brings them.
    """

    def __init__(self, desks: Desks, *, scope: str, header: str = HEADER) -> None:
        async def claimed(request: Request) -> AsyncIterator[Claim]:
            async with await desks.desk().take(request.headers.getlist(header), scope) as claim:
                yield claim

        # "function": its end comes before the response is sent, so that a client who has one finds the token settled.
        super().__init__(claimed, use_cache=True, scope="function")

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Decorate a route with it; a parameter of the type `Claim` is handed the claim.

        Raises:
            HandlerError: it cannot be decorated; the message says why.
        """
        return with_parameter(function, Claim, Annotated[Claim, self])
