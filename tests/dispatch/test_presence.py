"""What workers say of themselves, and what is known of them when they say nothing any more."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from receiver.events import Event
from receiver.handlers import Registry, RetryPolicy
from receiver.operate.database import database
from receiver.storage import workers
from receiver.storage.workers import Orphans, WorkerRow
from tests.dispatch.conftest import Shop

QUICK = RetryPolicy(first=0.01, factor=1, cap=0.01, attempts=50)
SAID = "SELECT count(*) = 1 FROM receiver.worker WHERE state = $1 AND running = $2"
AGE = "UPDATE receiver.worker SET seen_at = now() - make_interval(secs => $1)"


@pytest.fixture(autouse=True)
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers speak more often than in production."""
    monkeypatch.setattr("receiver.dispatch.presence.TELL_SECONDS", 0.1)


async def nothing(_event: Event, _tx: AsyncSession) -> None:
    """Succeed."""


def knowing(*names: str) -> Registry:
    registry = Registry(retry=QUICK)
    for name in names:
        registry.on("stripe", name=name)(nothing)
    return registry


async def listed(shop: Shop) -> Sequence[WorkerRow]:
    async with database(shop.database_url) as connection:
        return await workers.workers(connection)


async def orphans(shop: Shop) -> Sequence[Orphans]:
    async with database(shop.database_url) as connection:
        return await workers.orphans(connection)


async def known(shop: Shop, handler: str) -> bool:
    async with database(shop.database_url) as connection:
        return await workers.is_known(connection, handler)


async def test_worker_tells_from_its_start_to_its_stop(shop: Shop) -> None:
    running, proceed = asyncio.Event(), asyncio.Event()

    async def waits(_event: Event, _tx: AsyncSession) -> None:
        running.set()
        await proceed.wait()

    registry = knowing("ship")
    registry.on("stripe", name="pay")(waits)
    await shop.deliver("pay")
    async with shop.working(registry, concurrency=3) as worker:
        await running.wait()
        await shop.until(SAID, "running", 1)
        (row,) = await listed(shop)
        assert (row.name, row.host, row.pid) == (worker.name, socket.gethostname(), os.getpid())
        assert (row.state, row.concurrency, row.handlers, row.circuits) == ("running", 3, ("ship", "pay"), ())
        assert row.started_at < row.seen_at
        assert await known(shop, "pay")
        leaving = asyncio.create_task(worker.__aexit__(None, None, None))
        await shop.until(SAID, "draining", 1)
        assert not await known(shop, "pay")  # it leases nothing any more
        proceed.set()
        await leaving
    (row,) = await listed(shop)
    assert (row.state, row.running) == ("stopped", 0)


async def test_worker_that_died_is_lost_and_in_the_end_forgotten(shop: Shop) -> None:
    with shop.program("pay") as process:
        await shop.until(SAID, "running", 0)
        assert await known(shop, "pay")
        process.send_signal(signal.SIGKILL)
        process.wait()
    await shop.execute(AGE, workers.LOST_SECONDS - 5)
    assert ([row.state for row in await listed(shop)], await known(shop, "pay")) == (["running"], True)
    await shop.execute(AGE, workers.LOST_SECONDS + 1)
    assert ([row.state for row in await listed(shop)], await known(shop, "pay")) == (["lost"], False)
    await shop.execute(AGE, 86_401.0)
    async with shop.working(knowing("ship")) as worker:
        await shop.until("SELECT array_agg(name) = ARRAY[$1] FROM receiver.worker", worker.name)


@pytest.mark.parametrize(
    ("trouble", "remedy"),
    [
        ("BEGIN; LOCK TABLE receiver.worker", "ROLLBACK"),
        ("ALTER TABLE receiver.worker RENAME TO hidden", "ALTER TABLE receiver.hidden RENAME TO worker"),
    ],
)
async def test_worker_that_cannot_tell_works_and_tells_later(shop: Shop, trouble: str, remedy: str) -> None:
    other = await asyncpg.connect(shop.database_url)
    await other.execute(trouble)
    worker = shop.working(knowing("pay"))
    await worker.__aenter__()
    for _ in range(20):
        await shop.deliver()
    await shop.until_done()
    assert await shop.value("SELECT max(finished_at - started_at) < interval '1 second' FROM receiver.every_attempt")
    await other.execute(remedy)
    await shop.until(SAID, "running", 0)
    await other.execute(trouble)
    async with asyncio.timeout(10):
        await worker.__aexit__(None, None, None)
    await other.close()


async def test_open_circuit_is_told_until_it_closes(shop: Shop) -> None:
    down = True

    async def calls_what_is_down(_event: Event, _tx: AsyncSession) -> None:
        if down:
            raise OSError

    registry = knowing("ship")
    registry.on("stripe", name="pay")(calls_what_is_down)
    await shop.deliver()
    async with shop.working(registry):
        await shop.until("SELECT jsonb_array_length(circuits) = 1 FROM receiver.worker")
        (row,) = await listed(shop)
        (circuit,) = row.circuits
        assert circuit.handler == "pay"
        assert row.started_at < circuit.since <= row.seen_at
        assert (circuit.probe_at - circuit.since).total_seconds() >= 0.9
        assert shop.runs.open == {"ship": False, "pay": True}
        down = False
        await shop.until_done()
        assert shop.runs.open == {"ship": False, "pay": False}
        await shop.until("SELECT circuits = '[]' FROM receiver.worker")


async def test_owed_to_nobody_that_lives(shop: Shop) -> None:
    for handler, state in [
        ("renamed", "ready"),
        ("renamed", "ready"),
        ("renamed", "succeeded"),
        ("finished", "succeeded"),
        ("finished", "dead"),
        ("pay", "ready"),
        ("zombie", "leased"),
    ]:
        event_id = await shop.deliver(handler)
        await shop.execute(
            "UPDATE receiver.dispatch SET state = $2, due_at = now() + interval '1 hour' WHERE event_id = $1",
            event_id,
            state,
        )
    assert [(row.handler, row.owed) for row in await orphans(shop)] == [("pay", 1), ("renamed", 2), ("zombie", 1)]
    async with shop.working(knowing("pay")):
        await shop.until(SAID, "running", 0)
        assert [row.handler for row in await orphans(shop)] == ["renamed", "zombie"]
    assert [row.handler for row in await orphans(shop)] == ["pay", "renamed", "zombie"]
