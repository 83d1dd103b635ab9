"""Context variables that a handler sets are not there in the run of another event."""

import decimal
from contextvars import ContextVar

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver import RawTransaction
from receiver.events import Event
from receiver.handlers import Registry
from tests.dispatch.conftest import Shop

tenant: ContextVar[str | None] = ContextVar("tenant", default=None)


@pytest.mark.parametrize("kind", ["async", "raw", "batch", "def"])
async def test_what_one_run_sets_the_next_does_not_see(shop: Shop, kind: str) -> None:
    registry = Registry()
    seen: list[tuple[str | None, int]] = []

    def look(event: Event) -> None:
        seen.append((tenant.get(), decimal.getcontext().prec))
        tenant.set(str(event.id))  # as in a web framework, where the context ends with the request
        decimal.setcontext(decimal.Context(prec=4))

    async def by_session(event: Event, _tx: AsyncSession) -> None:
        look(event)

    async def by_raw(event: Event, _tx: RawTransaction) -> None:
        look(event)

    def in_thread(event: Event, _tx: Session) -> None:
        look(event)

    if kind == "raw":
        registry.on("stripe", name="pay", raw=True)(by_raw)
    elif kind == "def":
        registry.on("stripe", name="pay")(in_thread)
    else:
        registry.on("stripe", name="pay", batch=2 if kind == "batch" else 1)(by_session)
    for _ in range(6):
        await shop.deliver()
    async with shop.working(registry, concurrency=1):
        await shop.until_done()
    assert seen == [(None, 28)] * 6
