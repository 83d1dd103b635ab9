"""A worker in a process of its own, for tests that kill or freeze it: program.py DATABASE REDIS HANDLER."""

import asyncio
import os
import signal
import sys
import threading
import time

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver import Confirmed, Receiver
from receiver.events import Event
from receiver.handlers import Confirmation, RetryPolicy
from receiver.handlers.handler import Function
from receiver.settings import Settings
from receiver.storage.engine import raw_connection
from receiver.worker import Worker

receiver = Receiver(retry=RetryPolicy(first=0.05, factor=1, cap=0.05, attempts=3))
EFFECT = text("INSERT INTO effect VALUES (:id, :handler, :note)")


async def _write(event: Event, tx: AsyncSession) -> None:
    await tx.execute(EFFECT, {"id": event.id, "handler": event.handler, "note": f"pid {os.getpid()}"})


async def pay(event: Event, tx: AsyncSession) -> None:
    """Write an effect."""
    await _write(event, tx)


async def pay_together(event: Event, tx: AsyncSession) -> None:
    """The same, several in one transaction."""
    await _write(event, tx)


async def pay_as_list(events: list[Event], tx: AsyncSession) -> None:
    """The same by one call."""
    for event in events:
        await _write(event, tx)


async def poison(event: Event, tx: AsyncSession) -> None:
    """Kill the worker that runs it."""
    await _write(event, tx)
    os.kill(os.getpid(), signal.SIGKILL)


async def leave(event: Event, tx: AsyncSession) -> None:
    """End the worker that runs it, as if all were well."""
    await _write(event, tx)
    os._exit(0)


async def fail(event: Event, tx: AsyncSession) -> None:
    """Raise."""
    await _write(event, tx)
    raise RuntimeError("as ever")


async def wait(event: Event, tx: AsyncSession) -> None:
    """Never return."""
    await _write(event, tx)
    await asyncio.Event().wait()


def wait_sync(event: Event, tx: Session) -> None:
    """Never return, and hold a thread."""
    tx.execute(EFFECT, {"id": event.id, "handler": event.handler, "note": f"pid {os.getpid()}"})
    threading.Event().wait()


async def freeze(event: Event, tx: AsyncSession) -> None:
    """Write an effect, then stop the whole process until somebody continues it."""
    await _write(event, tx)
    os.kill(os.getpid(), signal.SIGSTOP)
    await _write(event, tx)


async def freeze_within(event: Event, tx: AsyncSession) -> None:
    """The same within a statement, between its parts."""
    await _write(event, tx)
    await (await raw_connection(await tx.connection())).prepare("SELECT 'within'")
    os.kill(os.getpid(), signal.SIGSTOP)
    await _write(event, tx)


async def charge(event: Event, tx: AsyncSession) -> None:
    """Call the outside, where nothing is undone, with the key that makes the call safe to repeat."""
    await _write(event, tx)
    outside = await asyncpg.connect(os.environ["OUTSIDE"])
    await outside.execute("INSERT INTO outside VALUES ($1)", event.idempotency_key("charge"))
    await outside.close()


async def emits(event: Event, tx: AsyncSession) -> None:
    """Hand on to `hear`."""
    await receiver.emit(tx, "order.paid", "o_1", key="o_1")
    await _write(event, tx)


async def hear(event: Event, tx: AsyncSession) -> None:
    """Write an effect for what was emitted."""
    await _write(event, tx)


async def stubborn(event: Event, tx: AsyncSession) -> None:
    """Write an effect, then go on for ever, whoever cancels."""
    await _write(event, tx)
    while True:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            continue


def hang(event: Event, tx: Session) -> None:
    """The same in a thread."""
    tx.execute(EFFECT, {"id": event.id, "handler": event.handler, "note": None})
    time.sleep(3600)


async def block(event: Event, tx: AsyncSession) -> None:
    """Write an effect, then stop the whole loop."""
    await _write(event, tx)
    time.sleep(3600)  # noqa: ASYNC251 - just that


async def told(event: Event, tx: AsyncSession) -> None:
    """Write what was confirmed."""
    await tx.execute(EFFECT, {"id": event.id, "handler": event.handler, "note": str(event.confirmed)})


async def _ask(event: Event) -> Confirmed:
    """Count the question; then freeze, if that was asked for."""
    outside = await asyncpg.connect(os.environ["OUTSIDE"])
    await outside.execute("INSERT INTO outside VALUES ($1)", event.idempotency_key("ask"))
    await outside.close()
    if os.environ["CONFIRMS"] == "freezing":
        os.kill(os.getpid(), signal.SIGSTOP)
    return Confirmed(data="said by " + os.environ["CONFIRMS"])


class Silent:
    """Hears of every run and keeps quiet."""

    def ran(self, handler: str, outcome: str, seconds: float) -> None:
        """Nothing."""

    def circuit(self, handler: str, *, is_open: bool) -> None:
        """Nothing."""

    def asked(self, source: str, outcome: str, seconds: float) -> None:
        """Nothing."""


async def main(database_url: str, redis_url: str, handlers: str) -> None:
    """Work until SIGTERM."""
    functions: tuple[Function, ...] = (
        *(
            pay,
            pay_together,
            pay_as_list,
            poison,
            leave,
            fail,
            wait,
            wait_sync,
            freeze,
            freeze_within,
            charge,
            emits,
            hear,
            stubborn,
            hang,
            block,
            told,
        ),
    )
    known = {getattr(function, "__name__", ""): function for function in functions}
    for name in handlers.split(","):
        timeout = 0.2 if name in {"wait", "wait_sync"} else None
        batch = 10 if name in {"pay_together", "pay_as_list"} else 1
        source = "internal" if name == "hear" else "stripe"
        receiver.on(source, name=name, timeout=timeout, batch=batch, as_list=name == "pay_as_list")(known[name])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Worker(
        database_url=database_url,
        redis_url=redis_url,
        registry=receiver.handlers,
        readers={},
        settings=Settings(),
        metrics=Silent(),
        confirmations={"stripe": Confirmation(function=_ask, timeout=1)} if os.environ["CONFIRMS"] else None,
    ).run_until(stop)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
