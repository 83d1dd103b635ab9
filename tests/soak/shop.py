"""The soak's handlers: each leaves rows that tell how often and in what order it ran; all of them stumble at times."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver import Dead, Event, NotYet, RawTransaction, Receiver, Retry, RetryPolicy

# No key keeps a second effect out: the soak must be able to see it.
TABLES = """
CREATE TABLE effect (
    seq bigserial NOT NULL, handler text NOT NULL, event_id uuid NOT NULL, late boolean NOT NULL, worker int NOT NULL
);
CREATE INDEX ON effect (event_id, handler);
CREATE TABLE outside (event_id uuid NOT NULL, key text NOT NULL);
CREATE TABLE stock (id int PRIMARY KEY, taken bigint NOT NULL DEFAULT 0);
INSERT INTO stock SELECT generate_series(1, 20);
"""
STOCK = 2
"""Pieces that each effect of `take_stock` takes."""

_WRITE = text("INSERT INTO effect (handler, event_id, late, worker) VALUES (:handler, :event, :late, :worker)")
_WRITE_RAW = "INSERT INTO effect (handler, event_id, late, worker) VALUES ($1, $2, $3, $4)"
_BOOKED = text("SELECT EXISTS (SELECT FROM effect WHERE event_id = :event AND handler = 'book')")
_TAKE = text("UPDATE stock SET taken = taken + 1 WHERE id = :id")
_CONFLICT = text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
_TOO_LONG = 12.0
"""Seconds: longer than the time that a handler has."""


def _row(event: Event) -> dict[str, object]:
    return {"handler": event.handler, "event": event.id, "late": event.late, "worker": os.getpid()}


async def _write_raw(event: Event, tx: RawTransaction) -> None:
    await tx.execute(_WRITE_RAW, event.handler, event.id, event.late, os.getpid())


def _stumble() -> None:
    """Most of the time nothing; rarely what handlers do in their worst hours."""
    for chance, fault in _STUMBLES:
        if random.random() < chance:
            fault()


def _raise(make: Callable[[], Exception]) -> Callable[[], None]:
    def fail() -> None:
        raise make()

    return fail


_STUMBLES: tuple[tuple[float, Callable[[], None]], ...] = (
    (0.01, _raise(lambda: RuntimeError("stumbled"))),
    (0.01, _raise(lambda: Retry(after=0.1, reason="too_early"))),
    (0.002, _raise(lambda: Dead("given_up"))),
    (0.00005, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    (0.00005, lambda: os._exit(0)),
)


async def book(event: Event, tx: AsyncSession) -> None:
    """In no order; at times slow. Hands on to `notify`."""
    await tx.execute(_WRITE, _row(event))
    await receiver.emit(tx, "order.booked", {"event": str(event.id)}, key=str(event.id), entity_id=event.entity_id)
    if random.random() < 0.01:
        await asyncio.sleep(random.random())
    if random.random() < 0.0005:
        await asyncio.sleep(_TOO_LONG)
    _stumble()


async def ship(event: Event, tx: AsyncSession) -> None:
    """Waits for `book` of the same event."""
    if not (await tx.execute(_BOOKED, {"event": event.id})).scalar():
        raise NotYet("not_booked", after=random.random())
    await tx.execute(_WRITE, _row(event))
    _stumble()


async def notify(event: Event, tx: AsyncSession) -> None:
    """What `book` emitted, in the order of its arrival."""
    await tx.execute(_WRITE, _row(event))
    _stumble()


async def keep_ledger(event: Event, tx: AsyncSession) -> None:
    """In the order of each payment; a dead one lets the others pass."""
    await tx.execute(_WRITE, _row(event))
    _stumble()


async def keep_account(event: Event, tx: RawTransaction) -> None:
    """In order as well; a dead one holds the others up until it is replayed."""
    await _write_raw(event, tx)
    _stumble()


async def take_stock(event: Event, tx: AsyncSession) -> None:
    """Takes two pieces in any order, so that some of these deadlock."""
    for piece in random.sample(range(1, 21), STOCK):
        await tx.execute(_TAKE, {"id": piece})
    if random.random() < 0.01:
        await tx.execute(_CONFLICT)
    await tx.execute(_WRITE, _row(event))
    _stumble()


async def call_outside(event: Event, tx: RawTransaction) -> None:
    """What it does elsewhere stays whatever becomes of it here, and is known there by its key."""
    elsewhere = await asyncpg.connect(os.environ["RECEIVER_DATABASE_URL"], timeout=5)
    try:
        await elsewhere.execute("INSERT INTO outside VALUES ($1, $2)", event.id, event.idempotency_key("call"))
    finally:
        elsewhere.terminate()
    await _write_raw(event, tx)
    _stumble()


def book_plainly(event: Event, tx: Session) -> None:
    """In a thread."""
    tx.execute(_WRITE, _row(event))
    if random.random() < 0.0002:
        time.sleep(_TOO_LONG)
    _stumble()


async def count_alone(event: Event, tx: RawTransaction) -> None:
    """Without a session: its commit may go with the next one's statement."""
    await _write_raw(event, tx)
    _stumble()


async def count_together(event: Event, tx: RawTransaction) -> None:
    """Several in one commit, in no order, without a session."""
    await _write_raw(event, tx)
    _stumble()


async def keep_together(event: Event, tx: AsyncSession) -> None:
    """Several in one commit, and in the order of each entity."""
    await tx.execute(_WRITE, _row(event))
    _stumble()


async def list_together(events: list[Event], tx: RawTransaction) -> None:
    """Several in one call."""
    for event in events:
        await _write_raw(event, tx)
        _stumble()


def build() -> Receiver:
    """All of them."""
    made = Receiver(retry=RetryPolicy(first=0.2, factor=1.5, cap=2, attempts=60))
    made.on("stripe", "payment_intent.*", timeout=10)(book)
    made.on("internal", "order.booked", lane="entity")(notify)
    made.on("stripe", "payment_intent.succeeded")(ship)
    made.on("stripe", "payment_intent.*", lane="entity")(keep_ledger)
    made.on("stripe", "charge.*", raw=True, lane="entity", on_dead="block")(keep_account)
    made.on("stripe", "charge.*", concurrency=4)(take_stock)
    made.on("stripe", "charge.*", raw=True)(count_alone)
    made.on("stripe", "charge.*", raw=True, batch=10)(count_together)
    made.on("stripe", "charge.*", raw=True, batch=10, as_list=True)(list_together)
    made.on("stripe", "payment_intent.*", lane="entity", batch=10)(keep_together)
    made.on("standardwebhooks", lane="entity")(keep_ledger)
    made.on("standardwebhooks", timeout=10)(book_plainly)
    made.on("alipay", timeout=10)(book_plainly)
    made.on("wechatpay", timeout=10)(book_plainly)
    made.on("wechatpay", raw=True)(call_outside)
    return made


receiver = build()
