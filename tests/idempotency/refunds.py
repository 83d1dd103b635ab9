"""A shop's API whose routes have keys, inside the test or as a program: refunds.py DATABASE-URL PORT [LEASE]."""

import asyncio
import datetime as dt
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from receiver import IdempotencyKey, Receiver
from receiver.observability.failpoints import failpoint
from receiver.settings import Settings, made
from receiver.storage.engine import make_engine

EFFECTS = "CREATE TABLE IF NOT EXISTS public.refund (key text NOT NULL, way text NOT NULL)"
EFFECT = text("INSERT INTO public.refund VALUES (:key, :way)")
WAYS = ("bare", "once", "answer", "both")
"""What a route does with its key: nothing, the unique key, the response in its transaction, or these two."""


def signed_in(request: Request, authorization: Annotated[str, Header()] = "") -> None:
    """Who calls."""
    if authorization == "nobody":
        raise HTTPException(401)
    request.state.account = authorization


def account(request: Request) -> str | None:
    """Whose keys they are."""
    return str(request.state.account) or None


class Shop:
    """The application, its database and how its routes are told to behave."""

    def __init__(self, settings: Settings, *, lease: float = 30.0, retention: float = 3600.0) -> None:
        self.settings = settings
        self.receiver = Receiver(settings)
        self.lease = dt.timedelta(seconds=lease)
        self.retention = dt.timedelta(seconds=retention)
        self.runs = 0
        self.doors: dict[str, asyncio.Event] = {}
        self.sessions: async_sessionmaker[AsyncSession]
        self.app: FastAPI = FastAPI(lifespan=self._lifespan)
        add_refunds(self)
        add_others(self)
        self.receiver.install(self.app)

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        engine = make_engine(str(self.settings.database_url), name="shop", size=20)
        self.sessions = async_sessionmaker(engine.execution_options(isolation_level="READ COMMITTED"))
        yield
        await engine.dispose()


def add_refunds(shop: Shop) -> None:
    """One route for each way."""

    @shop.app.post("/refunds/{way}", status_code=201, dependencies=[Depends(signed_in)])
    @shop.receiver.keyed(scope="refunds", required=True, caller=account, lease=shop.lease, retention=shop.retention)
    async def refund(
        way: str, key: IdempotencyKey, response: Response, fail: Annotated[str, Body(embed=True)] = ""
    ) -> object:
        shop.runs += 1
        response.headers["X-Run"] = str(shop.runs)
        if fail.startswith("status "):
            raise HTTPException(int(fail.removeprefix("status ")))
        if fail.startswith("sleep "):
            await asyncio.sleep(float(fail.removeprefix("sleep ")))
        if fail in shop.doors:
            await shop.doors[fail].wait()
        answer: object = {"key": key.text, "run": shop.runs}
        async with shop.sessions.begin() as tx:
            if way in {"once", "both"}:
                await key.once(tx)
            await tx.execute(EFFECT, {"key": key.id, "way": way})
            if way in {"answer", "both"}:
                answer = await key.answer(tx, answer, 201)
            failpoint("route_before_commit")
            if fail == "before":
                raise RuntimeError(fail)
        failpoint("route_after_commit")
        if fail == "after":
            raise RuntimeError(fail)
        return answer


def add_others(shop: Shop) -> None:
    """What else a route may be."""
    router = APIRouter(prefix="/included")

    @router.post("/plain")
    @shop.receiver.keyed(scope="plain", response_limit=100, body_limit=1000)
    def plain(size: Annotated[int, Body(embed=True)], key: IdempotencyKey | None) -> Response:
        shop.runs += 1
        made_here = Response(b"x" * size, 200, {"X-Kept": "yes", "Date": "then"}, media_type="text/plain")
        made_here.set_cookie("session", "secret")
        made_here.headers["X-Key"] = key.text if key else ""
        return made_here

    @router.put("/plain")
    @shop.receiver.keyed(scope="plain")
    def put() -> None:
        shop.runs += 1

    @router.post("/echo")
    @shop.receiver.keyed(scope="echo")
    async def echo(request: Request) -> Response:
        shop.runs += 1
        return Response(b"".join([part async for part in request.stream()]))

    @router.post("/streaming")
    @shop.receiver.keyed(scope="streaming", response_limit=100)
    async def streaming(parts: Annotated[int, Body(embed=True)]):  # type: ignore[no-untyped-def]  # noqa: ANN202  nothing says that it streams
        shop.runs += 1
        return StreamingResponse((b"x" * 50 for _ in range(parts)), media_type="text/plain")

    @router.post("/endless")
    @shop.receiver.keyed(scope="endless", response_limit=100)
    async def endless() -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"x" * 101
            await shop.doors["endless"].wait()
            yield b"the end"

        shop.runs += 1
        return StreamingResponse(parts())

    @router.delete("/nothing", status_code=204)
    @shop.receiver.keyed(scope="nothing")
    async def nothing(tasks: BackgroundTasks) -> None:
        shop.runs += 1
        tasks.add_task(shop.doors["background"].wait)

    @router.post("/private")
    @shop.receiver.keyed(scope="private", caller=account)
    async def private(key: IdempotencyKey, who: Annotated[None, Depends(signed_in)]) -> str:
        shop.runs += 1
        return f"{key.caller} {who}"

    shop.app.include_router(router, prefix="/v1")
    shop.app.include_router(router, prefix="/v2")
    mounted = FastAPI()
    mounted.include_router(router)
    shop.app.mount("/mounted", mounted)


def settings_of(database_url: str, **more: object) -> Settings:
    """Settings that keys need."""
    return made(database_url=database_url, **more)


if __name__ == "__main__":
    url, port, *lease = sys.argv[1:]
    built = Shop(settings_of(url), lease=float(lease[0]) if lease else 30.0)
    uvicorn.run(built.app, port=int(port), log_level="warning")
