"""Handlers whose work was never begun: what they return is still to be awaited, or to be iterated."""

import functools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver.events import Event
from receiver.handlers import Registry, RetryPolicy
from tests.dispatch.conftest import Shop

EFFECT = text("INSERT INTO effect VALUES (:id, :handler, NULL)")
ONCE = RetryPolicy(attempts=1)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def logged(function: Callable[..., Any]) -> Callable[..., Awaitable[object]]:
    """A decorator in which somebody forgot the `await`."""

    @functools.wraps(function)
    async def wrapper(event: Event, tx: AsyncSession) -> object:
        return function(event, tx)

    return wrapper


def plain(function: Callable[..., Any]) -> Callable[..., object]:
    """A decorator that knows nothing of generators."""

    @functools.wraps(function)
    def wrapper(event: Event, tx: Session) -> object:
        return function(event, tx)

    return wrapper


async def test_a_coroutine_that_nobody_awaits_is_no_success(shop: Shop) -> None:
    registry = Registry()

    @registry.on("stripe", retry=ONCE)
    @logged
    async def pay(event: Event, tx: AsyncSession) -> None:
        await tx.execute(EFFECT, {"id": event.id, "handler": event.handler})

    await shop.deliver()
    async with shop.working(registry):
        await shop.until_done()
    assert (await shop.dispatch())[0] == "dead"
    assert await shop.effects() == 0


async def test_a_generator_that_nobody_iterates_is_no_success(shop: Shop) -> None:
    registry = Registry()

    @registry.on("stripe", retry=ONCE)
    @plain
    def pay(event: Event, tx: Session) -> Iterator[None]:
        tx.execute(EFFECT, {"id": event.id, "handler": event.handler})
        yield

    await shop.deliver()
    async with shop.working(registry):
        await shop.until_done()
    assert (await shop.dispatch())[0] == "dead"
    assert await shop.effects() == 0
