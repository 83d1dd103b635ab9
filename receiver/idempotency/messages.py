"""A message's effect, once, however often the message is delivered: its id is inserted in the effect's transaction.

A broker delivers again what was not acknowledged, so the acknowledgement comes behind the commit, never before it. A
program that dies between the two gets the message again, and finds its id: nothing is done, and it is acknowledged.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver.errors import MessageError
from receiver.storage.once import once, once_sync


@asynccontextmanager
async def consumed(
    where: AsyncSession | Callable[[], AsyncSession],
    *,
    scope: str,
    message_id: str | None,
    ack: Callable[[], Awaitable[object]] | None = None,
) -> AsyncIterator[AsyncSession | None]:
    """Lend a session to write the message's effect with, or None for a message whose effect is there already.

        async with consumed(sessions, scope="orders", message_id=nats_id(message), ack=message.ack) as tx:
            if tx is not None:
                tx.add(Order(…))

    An exception inside rolls all of it back, the id too, and goes on to the caller; nothing is acknowledged. So does
    one of the commit: if its reply was lost, the next delivery shows whether it was committed.

    Where another transaction is doing the same message, this waits until that one ends (`lock_timeout` bounds it).

    Args:
        where: makes sessions (`async_sessionmaker`): the block is then a transaction of its own, committed at its end.
            Or a session of yours: the block is then a savepoint in its transaction, which is yours to commit.
            Acknowledge behind that.
        scope: whose effects these are; each consumer that is to see every message has its own.
        message_id: what stays the same when the message comes again; see `message_ids`.
        ack: acknowledges the message; awaited once the effect is committed, or was there already.

    Raises:
        MessageError: there is no id, `ack` was given together with a session, or the block ended its transaction.
        OnceError: scope or id cannot be stored.
    """
    key = _present(message_id)
    if not callable(where):
        _refuse_early(ack)
        async with where.begin_nested():
            yield where if await once(where, scope, key) else None
        return
    async with where() as tx, tx.begin() as transaction:
        yield tx if await once(tx, scope, key) else None
        _still_open(is_active=transaction.is_active)
    if ack is not None:
        await ack()


@contextmanager
def consumed_sync(
    where: Session | Callable[[], Session],
    *,
    scope: str,
    message_id: str | None,
    ack: Callable[[], object] | None = None,
) -> Iterator[Session | None]:
    """`consumed` for plain functions, with the same arguments: a `Session`, or a `sessionmaker`."""
    key = _present(message_id)
    if not callable(where):
        _refuse_early(ack)
        with where.begin_nested():
            yield where if once_sync(where, scope, key) else None
        return
    with where() as tx, tx.begin() as transaction:
        yield tx if once_sync(tx, scope, key) else None
        _still_open(is_active=transaction.is_active)
    if ack is not None:
        ack()


def _present(message_id: str | None) -> str:
    if not message_id:
        raise MessageError(
            "message_id_missing",
            "message_id: nothing stays the same when this message is delivered again; have its publisher set an id",
        )
    return message_id


def _refuse_early(ack: object) -> None:
    if ack is not None:
        raise MessageError(
            "message_ack", "ack: cannot be given with a session, which you commit later; acknowledge behind that"
        )


def _still_open(*, is_active: bool) -> None:
    if not is_active:
        raise MessageError("message_transaction", "the block ended its transaction, which is committed at its end")
