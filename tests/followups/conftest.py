"""A shop's database with workers, and sessions of its own beside them."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from receiver.storage.engine import async_url
from tests.dispatch.conftest import Shop, open_shop


@pytest.fixture
async def shop(database_url: str, redis_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url, redis_url) as opened:
        yield opened


@pytest.fixture
async def engine(shop: Shop) -> AsyncIterator[AsyncEngine]:
    """The shop's own, as a web application has one."""
    engine = create_async_engine(async_url(shop.database_url))
    yield engine
    await engine.dispose()
