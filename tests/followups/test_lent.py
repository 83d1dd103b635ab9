"""What is emitted by handlers that share a commit, or that write their SQL themselves, is heard of at once too."""

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Dead, EmitError, Event, RawTransaction, Receiver
from tests.dispatch.conftest import Shop
from tests.followups.test_waking import HEARD, NEVER, SOON, hear

EVENTS = "SELECT count(*) FROM receiver.event WHERE source = 'internal'"


async def test_of_a_batch_those_that_succeed_emit(shop: Shop) -> None:
    receiver = Receiver()

    @receiver.on("stripe", batch=10)
    async def pay(event: Event, tx: AsyncSession) -> None:
        await receiver.emit(tx, "order.paid", None, key=event.external_id)
        if event.external_id == failing:
            raise Dead("no_such_order")  # a retry would have the worker look again, whatever was emitted

    receiver.on("internal")(hear)
    ids = [await shop.deliver("pay") for _ in range(5)]
    failing = f"evt_{ids[2].hex}"
    async with shop.working(receiver.handlers, poll_seconds=NEVER):
        await shop.until(HEARD, 4, seconds=SOON)
        assert await shop.rows(EVENTS) == [(4,)]


async def test_a_raw_transaction_has_a_session_to_emit_in(shop: Shop) -> None:
    receiver = Receiver()

    @receiver.on("stripe", raw=True)
    async def pay(event: Event, tx: RawTransaction) -> None:
        await tx.execute("INSERT INTO effect VALUES ($1, 'pay')", event.id)
        with pytest.raises(EmitError, match="AsyncSession"):
            receiver.emit(tx, "order.paid", None, key="o_1")  # type: ignore[arg-type, unused-coroutine]
        await receiver.emit(tx.session(), "order.paid", None, key="o_1")
        if event.attempt == 1:
            raise ValueError

    receiver.on("internal")(hear)
    await shop.deliver("pay")
    async with shop.working(receiver.handlers, poll_seconds=NEVER):
        await shop.until(HEARD, 1, seconds=SOON)
    assert await shop.rows("SELECT handler FROM effect ORDER BY 1") == [("hear",), ("pay",)]
