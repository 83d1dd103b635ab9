"""What was emitted is an event like any other to those who look at it: listed, shown, dead, replayed."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from receiver import Dead, Event, Receiver
from receiver.cli.exits import Exit
from receiver.handlers import AsyncFunction
from receiver.settings import Settings, made
from receiver.storage.engine import async_url
from tests.cli.kit import Cli

KNOWN: list[str] = []
STATES = "SELECT array_agg(state) FROM receiver.dispatch"


async def mail(event: Event, tx: AsyncSession) -> None:
    del tx
    assert event.data == {"order": "R-1042"}
    if not KNOWN:
        raise Dead("no_such_customer")


async def note(event: Event, tx: AsyncSession) -> None:
    await mail(event, tx)


def program(settings: Settings, *more: AsyncFunction) -> Receiver:
    receiver = Receiver(settings)
    for handler in (mail, *more):
        receiver.on("internal", "order.paid")(handler)
    return receiver


async def emit(receiver: Receiver, url: str) -> None:
    engine = create_async_engine(async_url(url))
    async with AsyncSession(engine) as session, session.begin():
        await receiver.emit(session, "order.paid", {"order": "R-1042"}, key="R-1042", entity_id="R-1042")
    await engine.dispose()


async def work(receiver: Receiver, url: str, until: str, number: int = 1) -> None:
    """Run until all dispatches are in this state."""
    engine = create_async_engine(async_url(url))
    async with asyncio.timeout(30), receiver.lifespan(), engine.connect() as connection:
        while await connection.scalar(text(STATES)) != [until] * number:
            await connection.rollback()
            await asyncio.sleep(0.01)
    await engine.dispose()


def test_an_emitted_event_is_operated_like_any_other(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str
) -> None:
    monkeypatch.setenv("RECEIVER_DATABASE_URL", database_url)
    settings = made(database_url=database_url, redis_url=redis_url, poll_seconds=0.1)
    asyncio.run(emit(program(settings), database_url))
    asyncio.run(work(program(settings), database_url, "dead"))
    (row,) = cli("events", "list", "--source", "internal", "--type", "order.paid", "--state", "dead", "--json").rows()
    assert (row["provider"], row["entity_id"], row["duplicates"]) == ("internal", "R-1042", 0)
    shown = cli("events", "show", "order.paid:R-1042", "--body")
    assert shown.code == 0
    assert '{"order":"R-1042"}' in shown.out
    assert "code of your own that emitted it" in shown.out
    (dead,) = cli("dead", "list", "--json").rows()
    assert (dead["source"], dead["handler"], dead["reason"]) == ("internal", "mail", "no_such_customer")
    KNOWN.append("R-1042")
    assert cli("replay", str(row["id"])).code == 0
    asyncio.run(work(program(settings), database_url, "succeeded"))
    assert cli("events", "list", "--state", "succeeded", "--json").rows()[0]["id"] == row["id"]
    assert cli("replay", "--handler", "note", "--since", "1h", "--detach").code == 0
    asyncio.run(work(program(settings, note), database_url, "succeeded", 2))


def test_nobody_can_send_one(cli: Cli) -> None:
    said = cli("send", "internal", "paid")
    assert said.code == Exit.USAGE
    assert "no source is called 'internal'" in said.err
