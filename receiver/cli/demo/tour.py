"""The demo's course: start the shop's receiver, send, wait until all is quiet, read back."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from receiver.app import Listening, run
from receiver.cli.demo import shop, traffic
from receiver.cli.demo.figures import Figures, settled
from receiver.cli.output import note, progress
from receiver.operate.database import database
from receiver.operate.sender import send_all
from receiver.settings import Settings, made
from receiver.sources import Source, build_sources, made_up
from receiver.storage import views
from receiver.storage.engine import Connection

_CONCURRENCY = 16


SHOP_PROVIDERS: Final = ("stripe", "standardwebhooks", "alipay", "wechatpay")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What there is to see when all is quiet."""

    figures: Figures
    listening: Listening
    dead: uuid.UUID | None
    """The event that a person would have to look at."""


Finished = Callable[[Result], Awaitable[None]]


def made_up_sources() -> dict[str, dict[str, object]]:
    """Settings of the shop's sources, with keys made at random."""
    return {name: made_up(name) for name in SHOP_PROVIDERS}


async def tour(settings: Settings, finished: Finished) -> bool:
    """Run the shop and send its callbacks.

    Args:
        settings: complete, with a source for each provider.
        finished: called with what became of them; the shop runs until it returns.

    Returns:
        False if a signal ended it before.
    """
    begun: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    program = asyncio.create_task(
        run(shop.receiver, settings, serve=True, work=True, ready=begun.set_result, stop=stop, reload=False)
    )
    course = asyncio.create_task(_course(begun, settings, finished))
    await asyncio.wait({program, course}, return_when=asyncio.FIRST_COMPLETED)
    # A signal sets it too, and then the course fails in whatever it was about.
    complete = course.done() and not stop.is_set()
    stop.set()
    course.cancel()
    await asyncio.gather(course, return_exceptions=True)
    await program
    if complete:
        course.result()
    return complete


async def _course(begun: asyncio.Future[Listening], settings: Settings, finished: Finished) -> None:
    listening = await begun
    sources = build_sources(settings, Path())
    strangers = build_sources(made(sources=made_up_sources()), Path())
    async with database(settings.database_url or "") as connection:
        orders = traffic.order_names()
        await _open_shop(connection, orders)
        note(f"sending {traffic.SENT} callbacks of four providers, with duplicates and forgeries among them")
        await _send(sources, strangers, orders, listening)
        note("waiting until every handler has run")
        figures = await settled(connection, listening.operator_url, traffic.SENT)
        dead = await views.dead(connection, None, 1)
    await finished(Result(figures=figures, listening=listening, dead=dead[0].id if dead else None))


async def _open_shop(connection: Connection, orders: list[str]) -> None:
    await connection.execute(shop.TABLES)
    warehouses = ["busy" if number < traffic.BUSY else "open" for number in range(len(orders))]
    await connection.execute(shop.PLACE_ORDERS, [*orders, shop.YOURS], [*warehouses, "open"])


async def _send(
    sources: dict[str, Source], strangers: dict[str, Source], orders: list[str], listening: Listening
) -> None:
    planned = traffic.plan(sources, orders, time.time())
    with progress("sending signed callbacks", len(planned)) as advance:
        await send_all(
            traffic.outgoing(planned, strangers, listening.url or ""),
            concurrency=_CONCURRENCY,
            heard=lambda _: advance(),
        )
