"""What cannot have keys is refused before the first request, and nothing runs without its guard."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from receiver import IdempotencyKey, Receiver
from receiver.errors import HandlerError, SettingsError

KEY = {"Idempotency-Key": "k"}


class EventSourceResponse(Response):
    """As a well-known package has it."""


def to_stream() -> StreamingResponse:
    raise AssertionError


def to_file_or_json() -> FileResponse | JSONResponse:
    raise AssertionError


def to_annotated() -> Annotated[StreamingResponse, "said otherwise"]:
    raise AssertionError


async def to_events() -> EventSourceResponse:
    raise AssertionError


async def to_none() -> None:
    """Nothing is wrong with it."""


def to_unknown() -> "Unknown":  # type: ignore[name-defined]  # noqa: F821  as behind `if TYPE_CHECKING`
    raise AssertionError


def keyed_app(function: Callable[..., Any], **route: Any) -> tuple[Receiver, FastAPI]:
    keys, app = Receiver(), FastAPI()
    app.post("/", response_model=None, **route)(keys.keyed(scope="s")(function))
    return keys, app


@pytest.mark.parametrize(
    ("function", "route"),
    [
        (to_stream, {}),
        (to_file_or_json, {}),
        (to_annotated, {}),
        (to_events, {}),
        (to_none, {"response_class": StreamingResponse}),
        (to_none, {"response_class": FileResponse}),
        (to_none, {"response_class": EventSourceResponse}),
    ],
)
def test_what_streams_is_refused_at_the_start(function: Callable[..., Any], route: dict[str, Any]) -> None:
    keys, app = keyed_app(function, **route)
    with pytest.raises(HandlerError, match=rf"^{function.__name__}: .* streams"):
        keys.install(app)


@pytest.mark.parametrize("function", [to_none, to_unknown])
def test_what_does_not_stream_is_not(function: Callable[..., Any]) -> None:
    keys, app = keyed_app(function)
    keys.install(app)


def test_what_an_included_router_makes_a_stream_is_refused() -> None:
    keys, app, router = Receiver(), FastAPI(), APIRouter()
    router.post("/")(keys.keyed(scope="s")(to_none))
    app.include_router(router, default_response_class=StreamingResponse)
    with pytest.raises(HandlerError, match="StreamingResponse"):
        keys.install(app)


async def generator() -> AsyncIterator[int]:
    yield 1


def plain_generator() -> Iterator[int]:
    yield 1


def two_keys(first: IdempotencyKey, second: IdempotencyKey | None) -> None:
    raise AssertionError(first, second)


@pytest.mark.parametrize(
    ("function", "message"),
    [(generator, "streams"), (plain_generator, "streams"), (two_keys, "several parameters of the type IdempotencyKey")],
)
def test_what_cannot_be_marked_is_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(HandlerError, match=rf"{function.__name__}: .*{message}"):
        Receiver().keyed(scope="s")(function)


@pytest.mark.parametrize(
    "given",
    [
        {"scope": ""},
        {"scope": "s" * 185},
        {"scope": "a\0"},
        {"scope": "s", "lease": timedelta(seconds=0.9)},
        {"scope": "s", "retention": timedelta(0)},
        {"scope": "s", "body_limit": -1},
        {"scope": "s", "response_limit": -1},
    ],
)
def test_what_could_not_work_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(HandlerError, match=r"^keyed: "):
        Receiver().keyed(**given)


def test_decorators_in_the_wrong_order_are_refused() -> None:
    keys, app = Receiver(), FastAPI()
    keys.keyed(scope="s")(app.post("/")(to_none))
    with pytest.raises(HandlerError, match=r"to_none: put @receiver\.keyed"):
        keys.install(app)


def test_a_route_of_starlettes_own_is_refused() -> None:
    def route(request: Request) -> Response:
        raise AssertionError(request)

    keys, app = Receiver(), FastAPI()
    app.add_route("/", keys.keyed(scope="s")(route), methods=["POST"])
    with pytest.raises(HandlerError, match="no route of FastAPI"):
        keys.install(app)


async def with_key(key: "IdempotencyKey | None") -> None:
    raise AssertionError(key)


async def post(app: FastAPI) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        return await client.post("/", headers=KEY)


@pytest.mark.parametrize("function", [to_none, with_key])
async def test_a_route_that_was_added_too_late_does_not_run(function: Callable[..., Any]) -> None:
    keys, app = Receiver(), FastAPI()
    keys.install(app)
    app.post("/")(keys.keyed(scope="s")(function))
    with pytest.raises(HandlerError, match=r"has no guard; call receiver\.install"):
        await post(app)


def test_a_function_called_by_hand_does_not_run() -> None:
    with pytest.raises(HandlerError, match="called by FastAPI alone"):
        Receiver().keyed(scope="s")(to_stream)()


async def test_without_its_lifespan_nothing_runs() -> None:
    keys, app = keyed_app(to_none)
    keys.install(app)
    with pytest.raises(SettingsError, match=r"receiver\.install\(app\) was not called, or its lifespan is not run"):
        await post(app)


def test_a_route_is_guarded_once() -> None:
    keys, app = keyed_app(to_none)
    keys.install(app)
    route: Any = app.routes[-1]
    first = route.handle
    keys.install(app)
    assert route.handle is first
