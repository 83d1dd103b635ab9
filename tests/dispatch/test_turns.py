"""`concurrency=` of a handler that comes in batches."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from receiver.events import Event
from receiver.handlers import Registry
from tests.dispatch.conftest import Shop, until


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("as_list", [False, True])
async def test_no_more_at_once_than_it_allows(shop: Shop, most: int, as_list: bool) -> None:
    """Each comes alone, and so would have a slot of its own."""
    registry = Registry()
    running: list[int] = [0]
    ends = asyncio.Event()

    @registry.on("stripe", concurrency=most, batch=5, as_list=as_list)
    async def pay(_given: Event, _tx: AsyncSession) -> None:
        running.append(running[-1] + 1)
        await ends.wait()
        running.append(running[-1] - 1)

    @registry.on("stripe")
    async def ship(_event: Event, _tx: AsyncSession) -> None:
        """Is not held up."""

    async with shop.working(registry, grace_seconds=0):
        for number in range(4):
            await shop.deliver("pay")
            await shop.until(f"SELECT count(*) = {number + 1} FROM receiver.dispatch WHERE state <> 'ready'")
        await until(lambda: max(running) >= most)
        await shop.deliver("ship")
        await shop.until("SELECT state = 'succeeded' FROM receiver.dispatch WHERE handler = 'ship'")
        assert max(running) == most
        ends.set()
        await shop.until_done()
    assert max(running) == most
    assert running[-1] == 0
    assert await shop.value("SELECT count(*) FROM receiver.dispatch WHERE state = 'succeeded'") == 5
