"""A headless Chromium, driven over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import asyncio
import itertools
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.ingress.ledger import until

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-port=0",
)
SECONDS: Final = 30.0


class Page:
    """An open page.

    Args:
        connection: to its DevTools.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    async def open(self, url: str) -> None:
        """Go there."""
        await self._ask("Page.navigate", url=url)

    async def says(self, expression: str) -> Any:
        """The value of an expression in the page."""
        said = await self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return said["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until the page says true."""

        async def said() -> bool:
            return bool(await self.says(expression))

        assert await until(said, SECONDS), f"never true: {expression}"

    async def click(self, x: int, y: int, times: int) -> None:
        """Click, without waiting for what comes of it."""
        for _ in range(times):
            for kind in ("mousePressed", "mouseReleased"):
                await self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def _ask(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._numbers)
        await self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(SECONDS):
            while True:
                said: dict[str, Any] = json.loads(await self._connection.recv())
                if said.get("id") == number:
                    assert "error" not in said, said
                    result: dict[str, Any] = said["result"]
                    return result


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """A browser with one empty page."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *ARGUMENTS, f"--user-data-dir={folder}", "about:blank"]
    with (folder / "chromium.log").open("wb") as log:
        running = await asyncio.to_thread(subprocess.Popen, command, stdout=log, stderr=log)
    try:
        told = folder / "DevToolsActivePort"
        assert await until(lambda: asyncio.to_thread(lambda: told.exists() and "\n" in told.read_text()), SECONDS)
        port = told.read_text().splitlines()[0]
        async with httpx.AsyncClient() as client:
            pages = (await client.get(f"http://127.0.0.1:{port}/json/list")).json()
        (url,) = (page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        async with connect(url, max_size=None, proxy=None) as connection:
            yield Page(connection)
    finally:
        running.terminate()
        await asyncio.to_thread(running.wait)
