"""`install` in applications of every shape: refusals are problems everywhere, and what cannot work is said at once."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

from receiver import Claim, Receiver
from receiver.errors import HandlerError, SettingsError
from receiver.settings import made
from tests.idempotency.conftest import KEY, issued

HEADER = "Idempotency-Token"


def shop(redis_url: str, keys: tuple[str, ...] = (KEY,)) -> Receiver:
    receiver = Receiver(made(redis_url=redis_url, token_keys=keys, redis_timeout=5.0))
    receiver.issue_tokens_to(lambda: None)
    return receiver


@asynccontextmanager
async def calling(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Calls it while its lifespan runs, without a server."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        yield client


def mounted(receiver: Receiver) -> FastAPI:
    """In an application in an application."""
    app, outer, inner = FastAPI(), FastAPI(), FastAPI()

    @inner.post("/orders")
    async def order(claim: Annotated[Claim, receiver.idempotent(scope="orders")]) -> str:
        return claim.key

    outer.mount("/inner", inner)
    app.mount("/outer", outer)
    return app


def included(receiver: Receiver) -> FastAPI:
    """In a router in a router."""
    app, outer, inner = FastAPI(), APIRouter(), APIRouter(prefix="/inner")

    @inner.post("/orders")
    @receiver.idempotent(scope="orders")
    def order() -> str:
        return "done"

    outer.include_router(inner)
    app.include_router(outer, prefix="/outer")
    return app


def mounted_in_a_router(receiver: Receiver) -> FastAPI:
    """In an application that an included router mounts."""
    app, router, inner = FastAPI(), APIRouter(), FastAPI()

    @inner.post("/orders", dependencies=[receiver.idempotent(scope="orders")])
    async def order() -> str:
        return "done"

    router.mount("/outer/inner", inner)
    app.include_router(router)
    return app


def twice(receiver: Receiver) -> FastAPI:
    """At the router, and at the route once more, which depends on another one that asks too."""
    app = FastAPI()
    router = APIRouter(prefix="/outer", dependencies=[receiver.idempotent(scope="orders")])

    def below(claim: Annotated[Claim, receiver.idempotent(scope="orders")]) -> str:
        return claim.key

    @router.post("/inner/orders")
    async def order(
        claim: Annotated[Claim, receiver.idempotent(scope="orders")], key: Annotated[str, Depends(below)]
    ) -> str:
        assert claim.key == key
        return key

    app.include_router(router)
    return app


def own_handler(receiver: Receiver) -> FastAPI:
    """The merchant answers each exception himself; a background task fails, behind the response."""
    app = FastAPI()

    @app.exception_handler(Exception)
    async def mine(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(repr(error), 500)

    @app.post("/outer/inner/orders")
    async def order(tasks: BackgroundTasks, claim: Annotated[Claim, receiver.idempotent(scope="orders")]) -> str:
        tasks.add_task(int, "no number")
        return claim.key

    return app


def streaming(receiver: Receiver) -> FastAPI:
    """What returns has done its work, whatever it streams."""
    app = FastAPI()

    @app.post("/outer/inner/orders", dependencies=[receiver.idempotent(scope="orders")])
    async def order() -> StreamingResponse:
        return StreamingResponse(iter([b"do", b"ne"]))

    return app


@pytest.mark.parametrize("shape", [mounted, included, mounted_in_a_router, twice, own_handler, streaming])
async def test_shapes(redis_url: str, shape: Callable[[Receiver], FastAPI]) -> None:
    receiver = shop(redis_url)
    app = shape(receiver)
    receiver.install(app, tokens="/tokens")
    for _ in range(2):  # its lifespan may run again
        async with calling(app) as client:
            token = {HEADER: await issued(client)}
            replies = [await client.post("/outer/inner/orders", headers=headers) for headers in (token, token, {})]
        assert [reply.status_code for reply in replies] == [200, 409, 400]
        assert [reply.json()["reason"] for reply in replies[1:]] == ["token_repeated", "token_missing"]


@pytest.mark.parametrize(
    "written",
    [" {0}", '"{0}"', "{0}=", "Bearer {0}", "{0},{0}", "{0} {0}", "\xe9", "\xff" * 51, "\x01{0}"],
)
async def test_a_token_has_one_spelling(redis_url: str, written: str) -> None:
    receiver = shop(redis_url)
    app = mounted(receiver)
    receiver.install(app, tokens="/tokens")
    async with calling(app) as client:
        token = await issued(client)
        sent = [(HEADER.encode(), written.format(token).encode("latin-1"))]
        reply = await client.post("/outer/inner/orders", headers=sent)
        assert (reply.status_code, reply.json()["reason"]) == (422, "token_foreign")
        swapped = await client.post("/outer/inner/orders", headers={HEADER: token.swapcase()})
        assert (swapped.status_code, swapped.json()["reason"]) == (422, "token_foreign")
        assert (await client.post("/outer/inner/orders", headers={HEADER: token})).status_code == 200


async def test_keys_are_rotated(redis_url: str) -> None:
    """The first key signs, the others are still believed; without the old one its tokens are nobody's."""
    tokens: list[str] = []
    seen = []
    for keys in (("o" * 32,), ("n" * 32, "o" * 32), ("n" * 32,)):
        receiver = shop(redis_url, keys)
        app = mounted(receiver)
        receiver.install(app, tokens="/tokens")
        async with calling(app) as client:
            tokens += [await issued(client), await issued(client)]
            seen.append(
                [(await client.post("/outer/inner/orders", headers={HEADER: t})).status_code for t in tokens[::2]]
            )
    assert seen == [[200], [409, 200], [422, 409, 200]]


@pytest.mark.parametrize(("guarded", "tokens"), [(True, None), (False, "/tokens")])
async def test_without_keys_it_does_not_start(redis_url: str, tokens: str | None, *, guarded: bool) -> None:
    receiver = shop(redis_url, ())
    app = mounted(receiver) if guarded else FastAPI()
    receiver.install(app, tokens=tokens)
    with pytest.raises(SettingsError, match=r"^token_keys: not set"):
        async with calling(app):
            pass


async def test_without_keys_and_without_tokens_it_starts(redis_url: str) -> None:
    app = FastAPI()
    shop(redis_url, ()).install(app)
    async with calling(app) as client:
        assert (await client.get("/docs")).status_code == 200


async def test_a_second_call_guards_what_was_added_since(redis_url: str) -> None:
    receiver = shop(redis_url)
    app, late = FastAPI(), mounted(receiver)
    receiver.install(app, tokens="/tokens")
    lifespan, routes = app.router.lifespan_context, len(app.routes)
    app.mount("/late", late)
    receiver.install(app, tokens="/tokens")
    assert (app.router.lifespan_context, len(app.routes)) == (lifespan, routes + 1), "connected once, one /tokens"
    async with calling(app) as client:
        token = {HEADER: await issued(client)}
        said = [(await client.post("/late/outer/inner/orders", headers=token)).status_code for _ in range(2)]
    assert said == [200, 409]


@pytest.mark.parametrize("where", ["route", "router", "inclusion"])
def test_websockets_have_no_tokens(redis_url: str, where: str) -> None:
    receiver = shop(redis_url)
    guard = [receiver.idempotent(scope="orders")]
    app, router = FastAPI(), APIRouter(dependencies=guard if where == "router" else [])

    @router.websocket("/live", dependencies=guard if where == "route" else [])
    async def live(socket: WebSocket) -> None:
        await socket.accept()

    app.include_router(router, dependencies=guard if where == "inclusion" else [])
    with pytest.raises(HandlerError, match="/live: is a WebSocket"):
        receiver.install(app)


@pytest.mark.parametrize(("who", "status"), [(object(), 500), ("a", 201), (7, 201), (UUID(int=7), 201), (None, 201)])
async def test_a_caller_has_a_name(redis_url: str, who: object, status: int) -> None:
    """An object is another one in each request: counted by it, the rate would hold nobody."""
    receiver, app = shop(redis_url), FastAPI()
    receiver.issue_tokens_to(lambda: who)
    receiver.install(app, tokens="/tokens")
    async with calling(app) as client:
        assert (await client.post("/tokens", json={"scope": "orders"})).status_code == status
