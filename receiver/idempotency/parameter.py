"""A parameter that the receiver hands to a route of the merchant's, whether or not the route asks for it."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from types import NoneType, UnionType
from typing import Annotated, Final, ParamSpec, TypeVar, Union, cast, get_args, get_origin

from receiver.errors import HandlerError

P = ParamSpec("P")
T = TypeVar("T")

_HIDDEN: Final = "receiver_"


def with_parameter(function: Callable[P, T], kind: type, annotation: object) -> Callable[P, T]:
    """`function` with the last of its parameters being the one of type `kind`, for FastAPI to fill.

    FastAPI solves what parameters depend on in their order, so all others are solved before. A function that has no
    such parameter gets a hidden one, and is never called without it: only a route of FastAPI's hands it over.

    Args:
        function: a route's, plain or `async def`.
        kind: the parameter's type, such as `Claim`; or that or None.
        annotation: by which FastAPI fills it.

    Raises:
        HandlerError: it streams, or has several such parameters.
    """
    name = function.__qualname__
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise HandlerError(f"{name}: streams its response, so its end cannot be waited for")
    signature = inspect.signature(function)
    wanted = [each for each, known in signature.parameters.items() if _is(known.annotation, kind)]
    if len(wanted) > 1:
        raise HandlerError(f"{name}: has several parameters of the type {kind.__name__}")
    chosen = wanted[0] if wanted else _HIDDEN + kind.__name__.lower()
    last = inspect.Parameter(chosen, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
    others = [known for each, known in signature.parameters.items() if each != chosen]
    made = _calling(function, chosen, hidden=not wanted)
    vars(made)["__signature__"] = signature.replace(parameters=[*others, last])
    return made


def _calling(function: Callable[P, T], name: str, *, hidden: bool) -> Callable[P, T]:
    """Calls `function`, without the parameter if that is hidden; a coroutine function if that is one."""

    def own(given: Mapping[str, object]) -> Mapping[str, object]:
        if name not in given:
            raise HandlerError(f"{function.__qualname__}: is called by FastAPI alone, or it would run unguarded")
        return {each: value for each, value in given.items() if not hidden or each != name}

    @wraps(function)
    async def awaited(*args: P.args, **kwargs: P.kwargs) -> object:
        return await cast("Callable[..., Awaitable[object]]", function)(*args, **own(kwargs))

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> object:
        return cast("Callable[..., object]", function)(*args, **own(kwargs))

    return cast("Callable[P, T]", awaited if inspect.iscoroutinefunction(function) else called)


def _is(annotation: object, kind: type) -> bool:
    if isinstance(annotation, str):
        return annotation.removesuffix(" | None").removeprefix("receiver.") == kind.__name__
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in {Union, UnionType}:
        return {*get_args(annotation)} == {kind, NoneType}
    return annotation is kind
