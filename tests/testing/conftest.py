"""A shop's database with a worker, to compare with; and a session such as a user's test has."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from receiver.storage.engine import async_url
from tests.dispatch.conftest import Shop, open_shop


@pytest.fixture
async def shop(database_url: str, redis_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url, redis_url) as opened:
        yield opened


@pytest.fixture
async def tx(shop: Shop) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(async_url(shop.database_url))
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session
    await engine.dispose()
