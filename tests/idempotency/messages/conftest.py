"""A stream, and sessions on a database with a table of effects."""

from collections.abc import AsyncIterator

import nats
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from receiver.storage.engine import async_url
from tests.conftest import execute
from tests.idempotency.messages.streams import TABLES, Stream, make_stream

Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture
def shop_url(database_url: str) -> str:
    execute(database_url, TABLES)
    return database_url


@pytest.fixture
async def sessions(shop_url: str) -> AsyncIterator[Sessions]:
    engine = create_async_engine(async_url(shop_url))
    yield async_sessionmaker(engine)
    await engine.dispose()


@pytest.fixture
async def stream(shop_url: str, nats_url: str) -> AsyncIterator[Stream]:
    client = await nats.connect(nats_url)
    made = await make_stream(client.jetstream(), nats_url, shop_url)
    yield made
    await made.jetstream.delete_stream(made.name)
    await client.close()
