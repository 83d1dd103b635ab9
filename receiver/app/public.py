"""What FastAPI serves on the public listener, behind the hot path."""

from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse


def public_app(tokens: APIRouter | None = None) -> FastAPI:
    """The application that gets every request which is no callback. No generated docs face the internet.

    Args:
        tokens: the route that issues them; None: there is none.
    """
    app = FastAPI(title="receiver", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/livez", response_class=PlainTextResponse)
    async def livez() -> str:
        """The process answers."""
        return "ok"

    if tokens is not None:
        app.include_router(tokens)
    return app
