"""A merchant's API with guarded routes, inside the test or as a program: merchant.py SETTINGS-FOLDER PORT."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import uvicorn
from fastapi import Body, FastAPI, Header, HTTPException
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from receiver import Claim, Receiver
from receiver.observability.failpoints import failpoint
from receiver.settings import Settings
from receiver.storage.engine import make_engine

EFFECTS = "CREATE TABLE IF NOT EXISTS public.done (what text NOT NULL)"
EFFECT = text("INSERT INTO public.done VALUES (:what)")
COUNT = "SELECT count(*) FROM public.done"


PAGE = """<!doctype html>
<title>Order</title>
<button disabled style="position: absolute; left: 0; top: 0; width: 200px; height: 100px">Order</button>
<ol style="margin-top: 120px"></ol>
<script>
const button = document.querySelector("button");
const token = fetch("/tokens", {method: "POST", body: JSON.stringify({scope: "orders"})})
  .then(reply => reply.json()).then(issued => { button.disabled = false; return issued.tokens[0]; });
button.onclick = async () => {
  const reply = await fetch(PATH, {
    method: "POST",
    headers: {"Content-Type": "application/json", "Idempotency-Token": await token},
    body: JSON.stringify({seconds: 0.5}),
  });
  document.querySelector("ol").insertAdjacentHTML("beforeend", `<li>${reply.status}</li>`);
};
</script>
"""
"""A page that fetches a token when it is shown, and orders at each click."""


class Order(BaseModel):
    """What a client sends."""

    fail: Literal["", "before", "after"] = ""
    """Where its route raises: before or after its commit."""
    seconds: float = 0
    """How long its route takes."""


def caller(x_caller: Annotated[str | None, Header()] = None) -> str | None:
    """Who asks for tokens."""
    if x_caller == "stranger":
        raise HTTPException(401)
    return x_caller


@asynccontextmanager
async def _connected(
    receiver: Receiver, made: list[async_sessionmaker[AsyncSession]], _app: FastAPI
) -> AsyncIterator[None]:
    engine = make_engine(str(receiver.load_settings().database_url), name="merchant", size=20, settings={})
    made.append(async_sessionmaker(engine))
    yield
    await engine.dispose()


def _others(app: FastAPI, receiver: Receiver, made: list[async_sessionmaker[AsyncSession]]) -> None:
    """Routes without a claim."""

    @app.get("/page/{path}", response_class=HTMLResponse)
    async def page(path: str) -> str:
        return PAGE.replace("PATH", json.dumps(f"/{path}"))

    @app.post("/bare", status_code=201)
    async def bare() -> None:
        async with made[-1].begin() as tx:
            await tx.execute(EFFECT, {"what": "unguarded"})
        failpoint("route_after_commit")

    @app.post("/plain", status_code=201)
    @receiver.idempotent(scope="orders", header="X-Once")
    def plain(order: Order) -> dict[str, str]:
        return {"done": order.fail}

    @app.post("/slow", status_code=201, dependencies=[receiver.idempotent(scope="orders")])
    async def slow(seconds: Annotated[float, Body(embed=True)]) -> None:
        await asyncio.sleep(seconds)

    @app.post("/listed", status_code=201, dependencies=[receiver.idempotent(scope="listed")])
    async def listed() -> dict[str, str]:
        return {"done": "listed"}


def build(settings: Settings | None = None, folder: Path | None = None) -> FastAPI:
    """The application."""
    receiver = Receiver(settings, folder=folder)
    receiver.issue_tokens_to(caller)
    made: list[async_sessionmaker[AsyncSession]] = []
    app = FastAPI(lifespan=partial(_connected, receiver, made))

    @app.post("/orders", status_code=201)
    async def order(order: Order, claim: Annotated[Claim, receiver.idempotent(scope="orders")]) -> dict[str, str]:
        if order.fail == "before":
            raise HTTPException(500)
        await asyncio.sleep(order.seconds)
        failpoint("route_before_commit")
        async with made[-1].begin() as tx:
            await claim.once(tx)
            await tx.execute(EFFECT, {"what": claim.key})
        failpoint("route_after_commit")
        if order.fail == "after":
            raise HTTPException(500)
        return {"done": claim.key}

    @app.post("/decorated", status_code=201)
    @receiver.idempotent(scope="orders")
    async def decorated(order: Order, claim: Claim) -> dict[str, str]:
        return await order_of(order, claim)

    async def order_of(order: Order, claim: Claim) -> dict[str, str]:
        async with made[-1].begin() as tx:
            await tx.execute(EFFECT, {"what": claim.key})
        if order.fail:
            raise HTTPException(500)
        return {"done": claim.key}

    _others(app, receiver, made)
    receiver.install(app, tokens="/tokens")
    return app


if __name__ == "__main__":
    uvicorn.run(build(folder=Path(sys.argv[1])), port=int(sys.argv[2]), log_level="warning")
