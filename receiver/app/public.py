"""What FastAPI serves on the public listener, behind the hot path."""

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse


def public_app() -> FastAPI:
    """The application that gets every request which is no callback. No generated docs face the internet."""
    app = FastAPI(title="receiver", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/livez", response_class=PlainTextResponse)
    async def livez() -> str:
        """The process answers."""
        return "ok"

    return app
