"""Exceptions of a merchant's own that are `Dead` or `NotYet`, and do not call their `__init__`, or cannot be read."""

import dataclasses

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Dead, NotYet, Retry, RetryPolicy
from receiver.events import Event
from receiver.handlers import Registry
from tests.dispatch.conftest import Shop

EFFECT = text("INSERT INTO effect VALUES (:id, :handler, NULL)")


@dataclasses.dataclass
class NoSuchOrder(Dead):
    order: str


class OrderMissing(NotYet):
    def __init__(self, order: str) -> None:
        self.order = order


async def test_a_dead_of_the_merchants_own_ends_its_dispatch_at_once(shop: Shop) -> None:
    registry = Registry()

    @registry.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        await tx.execute(EFFECT, {"id": event.id, "handler": event.handler})
        raise NoSuchOrder("R-1")

    await shop.deliver()
    async with shop.working(registry):
        await shop.until("SELECT state = 'dead' FROM receiver.dispatch", seconds=10)


async def test_a_not_yet_of_the_merchants_own_is_asked_again(shop: Shop) -> None:
    registry = Registry()

    @registry.on("stripe")
    async def pay(_event: Event, _tx: AsyncSession) -> None:
        raise OrderMissing("R-1")

    await shop.deliver()
    async with shop.working(registry):
        await shop.until("SELECT state = 'ready' AND deferrals > 0 FROM receiver.dispatch", seconds=10)


async def test_in_a_batch_too(shop: Shop) -> None:
    registry = Registry()

    @registry.on("stripe", batch=5)
    async def pay(_event: Event, _tx: AsyncSession) -> None:
        raise NoSuchOrder("R-1")

    for _ in range(5):
        await shop.deliver()
    async with shop.working(registry):
        await shop.until("SELECT bool_and(state = 'dead') FROM receiver.dispatch", seconds=10)


class Unreadable(Dead):
    def __init__(self) -> None:
        self.reason = self  # type: ignore[assignment]

    def __str__(self) -> str:
        raise LookupError


class Later(Retry):
    after = "soon"  # type: ignore[assignment]


@pytest.mark.parametrize("error", [Unreadable(), Later(), SyntaxError("x", ("f", 1, 1, 7))])  # type: ignore[arg-type]
async def test_what_cannot_be_read_is_a_failure_like_others(shop: Shop, error: Exception) -> None:
    registry = Registry(retry=RetryPolicy(first=0.01, cap=0.01, attempts=2))

    @registry.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        await tx.execute(EFFECT, {"id": event.id, "handler": event.handler})
        raise error

    await shop.deliver()
    async with shop.working(registry):
        await shop.until_done()
    assert await shop.dispatch() == ("dead", 2, "attempts_exhausted")
    assert await shop.effects() == 0
