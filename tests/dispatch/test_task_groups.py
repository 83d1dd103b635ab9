"""Handlers with an `asyncio.TaskGroup` one of whose tasks fails: Python 3.11 leaves theirs counted as cancelled."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Dead
from receiver.events import Event
from receiver.handlers import Registry, RetryPolicy
from tests.dispatch.conftest import Shop

EFFECT = text("INSERT INTO effect VALUES (:id, :handler, NULL)")
ONCE = RetryPolicy(attempts=1)


async def fails() -> None:
    raise ValueError


async def in_a_group(_event: Event, _tx: AsyncSession) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails())


async def test_the_next_run_is_not_told_that_it_is_being_cancelled(shop: Shop) -> None:
    registry = Registry(retry=ONCE)
    registry.on("stripe", name="pay")(in_a_group)
    seen: list[int] = []

    @registry.on("stripe")
    async def ship(_event: Event, _tx: AsyncSession) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append(task.cancelling())

    async with shop.working(registry, concurrency=1):
        for _ in range(3):
            await shop.deliver("pay", "ship")
            await shop.until_done()
    assert seen == [0, 0, 0]


async def test_a_slot_outlives_a_handler_that_waits_for_what_was_cancelled(shop: Shop) -> None:
    """Behind a group that failed it could take the CancelledError for its own end."""
    registry = Registry(retry=ONCE)
    registry.on("stripe", name="pay")(in_a_group)
    tasks: set[asyncio.Task[object] | None] = set()

    @registry.on("stripe")
    async def ship(_event: Event, _tx: AsyncSession) -> None:
        tasks.add(asyncio.current_task())
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    async with shop.working(registry, concurrency=1):
        for _ in range(2):
            await shop.deliver("pay")
            await shop.until_done()
            await shop.deliver("ship")
            await shop.until_done()
    assert len(tasks) == 1


async def test_what_a_handler_decides_in_a_group_counts(shop: Shop) -> None:
    """It comes out as an ExceptionGroup of one."""
    registry = Registry()

    @registry.on("stripe")
    async def pay(_event: Event, _tx: AsyncSession) -> None:
        async def look() -> None:
            raise Dead("no_such_order")

        async with asyncio.TaskGroup() as group:
            group.create_task(look())

    await shop.deliver()
    async with shop.working(registry):
        await shop.until("SELECT attempts > 0 AND state <> 'leased' FROM receiver.dispatch")
        assert await shop.dispatch() == ("dead", 1, "no_such_order")
