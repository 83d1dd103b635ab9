"""Puts refusals into an application of the merchant's: as problem details, in those that are mounted in it too."""

from collections.abc import Callable, Collection, Iterable, Iterator

from fastapi import FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.responses import Response
from fastapi.routing import APIWebSocketRoute
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount

from receiver.errors import HandlerError, ReceiverError
from receiver.idempotency import refusal

Call = Callable[..., object]


def refuse_in(app: FastAPI, refusals: Collection[type[ReceiverError]], guards: Collection[Call | None]) -> None:
    """Answer `refusals` by what they say.

    An application that is mounted answers for itself: what it does not know is a 500, before the outer one hears of it.

    Args:
        app: the outermost one.
        refusals: errors that become problem details.
        guards: the dependencies that raise them.

    Raises:
        HandlerError: a WebSocket asks for a token; there is no response that could refuse it.
    """
    applications: list[Starlette] = [app]
    for route in _routes(app.routes):
        if isinstance(route, APIWebSocketRoute) and not _calls(route.dependant).isdisjoint(guards):
            raise HandlerError(f"{route.path}: is a WebSocket; tokens are for requests")
        if isinstance(route, Mount) and isinstance(route.app, Starlette):
            applications.append(route.app)
    for each in applications:
        for error in refusals:
            each.add_exception_handler(error, _refused)


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ReceiverError)  # noqa: S101  nothing else is handled by it
    return refusal(error)


def _routes(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Those of included routers and mounted applications too."""
    for route in routes:
        contexts = getattr(route, "effective_route_contexts", None)
        if contexts is None:
            yield route
            yield from _routes(getattr(route, "routes", None) or ())
        else:  # an included router
            yield from _routes(context.starlette_route or context.original_route for context in contexts())


def _calls(dependant: Dependant) -> set[Call | None]:
    return {dependant.call}.union(*(_calls(each) for each in dependant.dependencies))
