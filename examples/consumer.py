"""Orders that come from NATS JetStream, each placed exactly once, however often it is delivered.

    pip install 'receiver[faststream]' 'faststream[nats]'
    receiver migrate                                    # makes the receiver's tables; this program makes its own
    python consumer.py nats://127.0.0.1:4222

The effect of an order is written in the transaction in which its id is kept; the order is acknowledged when that is
committed. Kill this program whenever you like. What it does for several subscribers: one router each, with an
`ExactlyOnce` of its own.
"""

import asyncio
import os
import sys

from faststream import FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from receiver.faststream import ExactlyOnce, Tx

STREAM = JStream("orders", subjects=["orders.placed"])
TABLE = """
CREATE TABLE IF NOT EXISTS placed_order (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number text NOT NULL,  -- not unique: that each order is placed once is the receiver's doing
    cents bigint NOT NULL
)
"""


class Order(BaseModel):
    """What a message says."""

    number: str
    cents: int


def shop(nats_url: str, database_url: str) -> FastStream:
    """The program: consumes until it is stopped."""
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://", 1))
    exactly_once = ExactlyOnce(async_sessionmaker(engine), scope="orders")
    broker = NatsBroker(nats_url, middlewares=[exactly_once])

    @broker.subscriber("orders.placed", stream=STREAM, durable="shop", pull_sub=PullSub())
    async def place(order: Order, tx: Tx) -> None:
        await tx.execute(
            text("INSERT INTO placed_order (number, cents) VALUES (:number, :cents)"),
            {"number": order.number, "cents": order.cents},
        )

    async def prepare() -> None:
        exactly_once.check(broker)
        async with engine.begin() as connection:
            await connection.execute(text(TABLE))

    return FastStream(broker, on_startup=[prepare], after_shutdown=[engine.dispose])


if __name__ == "__main__":
    asyncio.run(shop(sys.argv[1], os.environ["RECEIVER_DATABASE_URL"]).run())
