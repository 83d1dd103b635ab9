"""What FastAPI serves on the operator listener: metrics and readiness."""

import asyncio

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from receiver.settings import Settings
from receiver.storage import migrate


def operator_app(settings: Settings, metrics: CollectorRegistry) -> FastAPI:
    """The operators' application. It has no authentication: bind it to loopback or a private network only."""
    app = FastAPI(title="receiver operator", redoc_url=None)

    @app.get("/metrics")
    async def prometheus() -> Response:
        """All metrics of this process."""
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    @app.get("/livez", response_class=PlainTextResponse)
    async def livez() -> str:
        """The process answers."""
        return "ok"

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Whether callbacks can be stored: Postgres answers and is migrated. Redis is not needed for that."""
        revision = await _revision(settings.database_url)
        ready = revision == migrate.head()
        return JSONResponse({"ready": ready, "revision": revision}, status_code=200 if ready else 503)

    return app


async def _revision(url: str | None) -> str | None:
    try:
        async with asyncio.timeout(2):
            return await migrate.current(url or "")
    except Exception:  # noqa: BLE001  whatever it is, the answer is "not ready"
        return None
