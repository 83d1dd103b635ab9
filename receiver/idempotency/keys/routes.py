"""Finds the routes of an application that have keys, refuses those that cannot, and puts a guard around the others."""

import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Iterator

from fastapi.routing import APIRoute
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute

from receiver.errors import HandlerError
from receiver.idempotency.keys.guard import Guard, Stores
from receiver.idempotency.keys.mark import Keyed, mark_of

_GUARDED = "receiver_guarded"


def guard_routes(routes: Iterable[BaseRoute], stores: Stores, marked: Collection[Callable[..., object]]) -> None:
    """Put a guard around each route that has keys, those of included routers and mounted applications too.

    Args:
        routes: an application's.
        stores: where the keys are.
        marked: the functions that were marked: a route that runs one of them without its mark is refused.

    Raises:
        HandlerError: a route streams its response, is none of FastAPI's, or has its decorators in the wrong order.
    """
    for route, response_class in _routes(routes):
        endpoint = getattr(route, "endpoint", None)
        keyed = mark_of(endpoint)
        if keyed is None:
            if endpoint in marked:
                raise HandlerError(f"{_name(endpoint)}: put @receiver.keyed(…) below the decorator of the route")
        elif not isinstance(route, APIRoute):
            raise HandlerError(f"{_name(endpoint)}: is no route of FastAPI's")
        else:
            _refuse_streams(endpoint, response_class)
            _guard(route, keyed, stores)


def _guard(route: APIRoute, keyed: Keyed, stores: Stores) -> None:
    if not hasattr(route, _GUARDED):
        # `handle` and not `app`: an included router's route is run by another `app`, and by the same `handle`.
        vars(route).update(
            {"handle": Guard(keyed, stores, route.handle, frozenset(route.methods or ())), _GUARDED: True}
        )


def _routes(routes: Iterable[BaseRoute]) -> Iterator[tuple[BaseRoute, object]]:
    """Each route with the class of its responses."""
    for route in routes:
        contexts = getattr(route, "effective_route_contexts", None)
        below = getattr(route, "routes", None)
        if contexts is not None:  # an included router, as FastAPI has them since they are not copied any more
            for context in contexts():
                yield context.original_route, context.response_class
                yield from _routes(getattr(context.original_route, "routes", None) or ())
        elif below:
            yield from _routes(below)
        else:
            yield route, getattr(route, "response_class", None)


def _refuse_streams(endpoint: object, response_class: object) -> None:
    said = _returned(endpoint)
    for kind in (getattr(response_class, "value", response_class), said, *typing.get_args(said)):
        if isinstance(kind, type) and issubclass(kind, Response) and _streams(kind):
            raise HandlerError(
                f"{_name(endpoint)}: answers with a {kind.__name__}, which streams and cannot be replayed"
            )


def _streams(kind: type[Response]) -> bool:
    names = {each.__name__ for each in kind.__mro__}
    return issubclass(kind, (StreamingResponse, FileResponse)) or "EventSourceResponse" in names


def _returned(endpoint: object) -> object:
    function = inspect.unwrap(typing.cast("Callable[..., object]", endpoint))
    try:
        return typing.get_type_hints(function).get("return")
    except NameError:  # a name that is only there for type checkers
        return getattr(function, "__annotations__", {}).get("return")


def _name(endpoint: object) -> str:
    return str(getattr(endpoint, "__qualname__", endpoint))
