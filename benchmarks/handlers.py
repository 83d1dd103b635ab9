"""The handlers under measurement: one update of a business row each."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from receiver import Event, RawTransaction, Receiver

receiver = Receiver()

# Two events may be of one account.
PAY_LIST = """
UPDATE public.account AS a SET paid = paid + p.count
FROM (SELECT id, count(*) FROM unnest($1::int[]) AS t(id) GROUP BY id ORDER BY id) AS p WHERE a.id = p.id
"""
PAY = sa.text("UPDATE public.account SET paid = paid + 1 WHERE id = :id")


PAY_RAW = "UPDATE public.account SET paid = paid + 1 WHERE id = $1"
RAW = "benchmark.raw"
"""Types that no callback has: what ingress stores is owed to the first handler alone."""


class Base(DeclarativeBase):
    """Of the one class."""


class Account(Base):
    """What is paid for."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    paid: Mapped[int]


def account(event: Event) -> int:
    """The number of the account that the event's id points to."""
    return int(event.external_id.removeprefix("evt_")) % 10_000


@receiver.on("stripe", "payment_intent.succeeded")
async def mark_paid(event: Event, tx: AsyncSession) -> None:
    """Count a payment, by SQL through a session."""
    await tx.execute(PAY, {"id": account(event)})


@receiver.on("stripe", "benchmark.orm")
async def mark_paid_orm(event: Event, tx: AsyncSession) -> None:
    """Count a payment, by an update of the class."""
    await tx.execute(sa.update(Account).where(Account.id == account(event)).values(paid=Account.paid + 1))


@receiver.on("stripe", "benchmark.orm")
async def mark_paid_object(event: Event, tx: AsyncSession) -> None:
    """Count a payment, by changing an object that was loaded: two statements."""
    found = await tx.get_one(Account, account(event), with_for_update=True)
    found.paid += 1


@receiver.on("stripe", RAW, raw=True)
async def mark_paid_raw(event: Event, tx: RawTransaction) -> None:
    """Count a payment, by SQL straight to asyncpg."""
    await tx.execute(PAY_RAW, account(event))


@receiver.on("stripe", RAW, raw=True, lane="entity")
async def mark_paid_in_lane(event: Event, tx: RawTransaction) -> None:
    """The same in order."""
    await tx.execute(PAY_RAW, account(event))


@receiver.on("stripe", RAW, raw=True, batch=20)
async def mark_paid_together(event: Event, tx: RawTransaction) -> None:
    """The same, several in one transaction."""
    await tx.execute(PAY_RAW, account(event))


@receiver.on("stripe", RAW, raw=True, batch=20, as_list=True)
async def mark_paid_as_list(events: list[Event], tx: RawTransaction) -> None:
    """The same, a row of its own for each event, by one statement."""
    await tx.execute(PAY_LIST, [account(event) for event in events])
