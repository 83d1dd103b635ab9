"""What a route says to be run once for each issued token: a dependency of FastAPI's, and a decorator."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import wraps
from typing import Annotated, Final, ParamSpec, Protocol, TypeVar, cast, get_args, get_origin

from fastapi import Request
from fastapi.params import Depends

from receiver.errors import HandlerError
from receiver.idempotency.claim import Claim
from receiver.idempotency.desk import TokenDesk

P = ParamSpec("P")
T = TypeVar("T")

HEADER: Final = "Idempotency-Token"
_HIDDEN: Final = "receiver_claim_"


class Desks(Protocol):
    """Where the desk of the running application is found."""

    def desk(self) -> TokenDesk:
        """The desk. Raises SettingsError where nothing runs."""


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
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise HandlerError(f"{function.__qualname__}: streams its response, so its end cannot be waited for")
        signature = inspect.signature(function)
        wanted = [name for name, each in signature.parameters.items() if _is_claim(each.annotation)]
        if len(wanted) > 1:
            raise HandlerError(f"{function.__qualname__}: has several parameters of the type Claim")
        made = _calling(function, hidden=not wanted)
        claim = inspect.Parameter(
            wanted[0] if wanted else _HIDDEN, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Claim, self]
        )
        others = [each for name, each in signature.parameters.items() if name not in wanted]
        vars(made)["__signature__"] = signature.replace(parameters=[*others, claim])
        return made


def _calling(function: Callable[P, T], *, hidden: bool) -> Callable[P, T]:
    """Calls `function`, without the claim if it does not ask for one; a coroutine function if that is one."""

    def own(given: Mapping[str, object]) -> Mapping[str, object]:
        return {name: value for name, value in given.items() if not hidden or name != _HIDDEN}

    @wraps(function)
    async def awaited(*args: P.args, **kwargs: P.kwargs) -> object:
        return await cast("Callable[..., Awaitable[object]]", function)(*args, **own(kwargs))

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> object:
        return cast("Callable[..., object]", function)(*args, **own(kwargs))

    return cast("Callable[P, T]", awaited if inspect.iscoroutinefunction(function) else called)


def _is_claim(annotation: object) -> bool:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation is Claim or annotation in {"Claim", "receiver.Claim"}
