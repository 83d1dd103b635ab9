"""Every order in which one payment's callbacks can come, with repeats among them, ends in the same state."""

import asyncio
import datetime as dt
from itertools import permutations

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Event, Receiver, update_if_newer
from receiver.settings import made
from receiver.sources import made_up
from receiver.testing import SignedCallback, signed_callback
from tests.dispatch.conftest import Shop

LIFE = ("created", "authorised", "captured", "refunded")
ORDERS = list(permutations(range(len(LIFE))))
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
STATES = sa.Table(
    "states",
    sa.MetaData(),
    sa.Column("payment", sa.Text, primary_key=True),
    sa.Column("keeper", sa.Text, primary_key=True),
    sa.Column("state", sa.Text),
    sa.Column("last_updated_at", sa.DateTime(timezone=True)),
)
TABLES = """
CREATE TABLE states (
    payment text, keeper text, state text, last_updated_at timestamptz, PRIMARY KEY (payment, keeper)
);
CREATE TABLE booked (event uuid PRIMARY KEY, payment text)
"""
KEEP = sa.text(
    "INSERT INTO states VALUES (:payment, 'lane', :state) ON CONFLICT (payment, keeper) DO UPDATE SET state = :state"
)
one_at_a_time = asyncio.Lock()
"""On the shop's connection."""
BOOK = sa.text("INSERT INTO booked VALUES (:event, :payment)")


def shop_of(database_url: str, redis_url: str) -> Receiver:
    receiver = Receiver(
        made(database_url=database_url, redis_url=redis_url, sources={"stripe": made_up("stripe")}, poll_seconds=0.2)
    )

    @receiver.on("stripe", lane="entity")
    async def keep_in_order(event: Event, tx: AsyncSession) -> None:
        await tx.execute(BOOK, {"event": event.id, "payment": event.entity_id})
        if not event.late:
            await tx.execute(KEEP, {"payment": event.entity_id, "state": event.type})

    @receiver.on("stripe")
    async def keep_the_newest(event: Event, tx: AsyncSession) -> None:
        key = {"payment": event.entity_id, "keeper": "newest"}
        await update_if_newer(tx, STATES, key, {"state": event.type}, at=event.occurred_at)

    return receiver


def life(receiver: Receiver, payment: str) -> list[SignedCallback]:
    """The four callbacks of one payment, in the order of their times."""
    return [
        signed_callback(
            receiver,
            "stripe",
            changes={"type": state},
            entity_id=payment,
            created_at=NOW + dt.timedelta(seconds=number - len(LIFE)),
        )
        for number, state in enumerate(LIFE)
    ]


async def until_booked(shop: Shop, payment: str, count: int) -> None:
    async with one_at_a_time:
        await shop.until("SELECT count(*) = $2 FROM booked WHERE payment = $1", payment, count)


@pytest.mark.parametrize("paced", [False, True], ids=["at_once", "one_after_another"])
async def test_every_order_ends_in_the_same_state(shop: Shop, database_url: str, redis_url: str, paced: bool) -> None:
    """Paced, each is handled before the next one comes, so that earlier ones are late."""
    await shop.execute(TABLES)
    receiver = shop_of(database_url, redis_url)
    async with (
        asyncio.timeout(60),
        receiver.lifespan(),
        httpx.AsyncClient(transport=httpx.ASGITransport(receiver), base_url="http://shop") as client,
    ):

        async def deliver(number: int, order: tuple[int, ...]) -> None:
            callbacks = life(receiver, f"payment_{number}")
            for count, place in enumerate((*order, *reversed(order)), 1):
                sent = callbacks[place]
                answer = await client.post(sent.path, content=sent.body, headers=sent.headers)
                assert answer.status_code == 200
                if paced:
                    await until_booked(shop, f"payment_{number}", min(count, len(LIFE)))

        await asyncio.gather(*(deliver(number, order) for number, order in enumerate(ORDERS)))
        await shop.until_done()
    assert await shop.rows("SELECT keeper, state, count(*) FROM states GROUP BY 1, 2 ORDER BY 1") == [
        ("lane", "refunded", len(ORDERS)),
        ("newest", "refunded", len(ORDERS)),
    ]
    assert await shop.value("SELECT count(*) FROM booked") == len(ORDERS) * len(LIFE)
    assert await shop.value("SELECT count(*) FROM receiver.event") == len(ORDERS) * len(LIFE)
