"""The examples in a folder of their own, as somebody would use them: keys beside them, secrets in `.env`."""

import asyncio
import importlib
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from receiver.settings import made
from receiver.sources import Source, build_sources, made_up
from tests.examples.mail import Mail, answering

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECONDS = 30.0
CREATED = 1_767_225_600
NAMES = {"stripe": "stripe", "webhooks": "standardwebhooks", "alipay": "alipay", "wechatpay": "wechatpay"}
"""The sources in the example's settings, each with its provider."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A folder with the examples, and the keys of its providers."""

    folder: Path
    database_url: str
    sources: dict[str, Source]
    """They sign as the providers would."""


def text(value: object) -> str:
    """A setting of one value, or the first of several."""
    return str(value[0] if isinstance(value, list) else value)


@pytest.fixture
def shop(tmp_path: Path, database_url: str, redis_url: str) -> Shop:
    for path in EXAMPLES.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    keys = {name: made_up(provider) for name, provider in NAMES.items()}
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "alipay.pem").write_text(text(keys["alipay"]["public_key"]))
    (tmp_path / "keys" / "wechatpay.pem").write_text(text(keys["wechatpay"]["certificates"]))
    (tmp_path / ".env").write_text(
        f"RECEIVER_DATABASE_URL={database_url}\n"
        f"RECEIVER_REDIS_URL={redis_url}\n"
        f"STRIPE_SECRET={text(keys['stripe']['secrets'])}\n"
        f"WEBHOOKS_SECRET={text(keys['webhooks']['secrets'])}\n"
        f"WECHATPAY_API_V3_KEY={text(keys['wechatpay']['api_v3_key'])}\n"
    )
    return Shop(folder=tmp_path, database_url=database_url, sources=build_sources(made(sources=keys), tmp_path))


Send = Callable[[httpx.AsyncClient, str, str], Awaitable[int]]


@pytest.fixture
def send(shop: Shop) -> Send:
    async def send(client: httpx.AsyncClient, source: str, what: str) -> int:
        """Send the one event of this kind and source; the answer's status."""
        provider = shop.sources[source].provider
        payload = provider.sample(
            what, external_id=provider.sample_id(what, CREATED), entity_id="order1", created=CREATED
        )
        callback = shop.sources[source].sign(payload, time.time())
        answer = await client.post(f"callbacks/{source}", content=callback.body, headers=dict(callback.headers))
        return answer.status_code

    return send


Entries = Callable[[int], Awaitable[list[tuple[str, str]]]]


@pytest.fixture
def entries(shop: Shop) -> Entries:
    async def entries(expected: int) -> list[tuple[str, str]]:
        """The ledger once it has at least so many entries and nothing is left to do: source and entry, sorted."""
        connection = await asyncpg.connect(shop.database_url)
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    rows = await connection.fetch(
                        "SELECT e.source, l.entry FROM shop.ledger l JOIN receiver.event e ON e.id = l.event_id"
                        " ORDER BY 1, 2"
                    )
                    left = await connection.fetchval(
                        "SELECT count(*) FROM receiver.dispatch WHERE state <> 'succeeded'"
                    )
                    if len(rows) >= expected and not left:
                        return [(row["source"], row["entry"]) for row in rows]
                    await asyncio.sleep(0.05)
        finally:
            await connection.close()

    return entries


def forget_modules() -> None:
    """Import the examples anew."""
    for name in ("payments", "in_your_fastapi", "tables"):
        sys.modules.pop(name, None)


@pytest.fixture
def in_shop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The test's own process is in the shop's folder, with its modules."""
    forget_modules()  # another test's shop may have some of these names
    monkeypatch.chdir(shop.folder)
    monkeypatch.syspath_prepend(shop.folder)
    yield shop
    forget_modules()


@pytest.fixture
def tables(in_shop: Shop) -> Callable[[], Awaitable[None]]:
    """Makes the shop's tables."""

    async def make() -> None:
        await importlib.import_module("tables").make_tables(in_shop.database_url)

    return make


@pytest.fixture
def mail() -> Iterator[Mail]:
    with answering() as server:
        yield server
