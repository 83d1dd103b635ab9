"""Handlers that will not stop: they lose their dispatch, others flow past them, and the program still ends."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from receiver.events import Event
from receiver.handlers import Registry, RetryPolicy
from receiver.handlers.handler import Function
from tests.dispatch.conftest import Shop, until

TWICE = RetryPolicy(first=0.05, factor=1, cap=0.05, attempts=2)
EFFECT = text("INSERT INTO effect VALUES (:id, :handler)")
ended: list[str] = []
"""What each handler that would not stop came to in the end."""
RELEASE = threading.Event()


@pytest.fixture(autouse=True)
async def released(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A short grace; and no handler of a test outlives it."""
    monkeypatch.setattr("receiver.dispatch.bench.MOST_GRACE", 0.2)
    monkeypatch.setattr("receiver.dispatch.bench.LOOK_SECONDS", 0.05)
    ended.clear()
    RELEASE.clear()
    yield
    RELEASE.set()


async def write(event: Event, tx: AsyncSession) -> None:
    await tx.execute(EFFECT, {"id": event.id, "handler": event.handler})


async def insist() -> None:
    """Wait until released, whoever cancels."""
    while not RELEASE.is_set():
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            continue


async def returns_in_the_end(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await insist()
    ended.append("returned")


async def raises_in_the_end(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await insist()
    ended.append("raised")
    raise ValueError


async def writes_in_the_end(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    await insist()
    try:
        await write(event, tx)
    except Exception as error:
        ended.append(type(error).__name__)
        raise


async def goes_on_in_the_database(event: Event, tx: AsyncSession) -> None:
    await write(event, tx)
    while not RELEASE.is_set():
        try:
            await tx.execute(text("SELECT pg_sleep(60)"))
        except BaseException:  # noqa: BLE001 - as bad as it gets
            await insist()
    ended.append("returned")


def hangs_in_its_thread(event: Event, tx: Session) -> None:
    tx.execute(EFFECT, {"id": event.id, "handler": event.handler})
    RELEASE.wait(60)
    ended.append("returned")


@pytest.mark.parametrize(
    ("function", "in_the_end"),
    [
        (returns_in_the_end, "returned"),
        (raises_in_the_end, "raised"),
        (writes_in_the_end, "ResourceClosedError"),
        (goes_on_in_the_database, "returned"),
        (hangs_in_its_thread, "returned"),
    ],
)
async def test_handler_that_will_not_stop_is_left_behind(shop: Shop, function: Function, in_the_end: str) -> None:
    registry = Registry(retry=TWICE)
    registry.on("stripe", name="stuck", timeout=0.2)(function)
    registry.on("stripe", name="pay")(write)
    await shop.deliver("stuck")
    with capture_logs() as lines:
        await past(shop, registry)
    assert ended == [in_the_end, in_the_end]
    told = [(line["handler"], line["attempt"]) for line in lines if line["event"] == "handler_abandoned"]
    assert told == ([] if function is hangs_in_its_thread else [("stuck", 1), ("stuck", 2)])
    assert await shop.rows("SELECT handler, count(*) FROM effect GROUP BY 1") == [("pay", 6)]
    assert await shop.dispatch("stuck") == ("dead", 2, "attempts_exhausted")
    assert sorted(shop.runs.heard) == [("pay", "succeeded")] * 6 + [("stuck", "dead"), ("stuck", "retry")]


async def past(shop: Shop, registry: Registry) -> None:
    """What wants the slot of a handler that is stuck gets it."""
    async with shop.working(registry, concurrency=1, lease_seconds=30):
        await shop.until("SELECT count(*) = 1 FROM receiver.dispatch WHERE state = 'leased'")
        for _ in range(5):  # these want its slot
            await shop.deliver("pay")
        await shop.until_done()
        assert await shop.attempts("stuck") == [(1, "retry", "timeout"), (2, "dead", "attempts_exhausted")]
        assert await shop.rows("SELECT handler, count(*) FROM effect GROUP BY 1") == [("pay", 5)]
        assert ended == []
        RELEASE.set()
        await until(lambda: len(ended) == 2)
        await shop.deliver("pay")
        await shop.until_done()


async def test_slots_stay_as_many_as_they_were(shop: Shop) -> None:
    met = asyncio.Barrier(3)

    async def meets(event: Event, tx: AsyncSession) -> None:
        await met.wait()
        await write(event, tx)

    registry = Registry(retry=TWICE)
    registry.on("stripe", name="stuck", timeout=0.2)(returns_in_the_end)
    registry.on("stripe", name="pay")(meets)
    for _ in range(3):
        await shop.deliver("stuck")
    async with shop.working(registry, concurrency=3):
        await shop.until_done()
        for _ in range(3):
            await shop.deliver("pay")
        await shop.until_done()
        connections = await shop.value(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'receiver-worker' AND datname = current_database()"
        )
        assert connections == 3
        RELEASE.set()
        await until(lambda: len(ended) == 6)


async def test_handler_that_will_not_stop_is_given_up_at_the_end(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.dispatch.dispatcher._LAST_SECONDS", 1.0)
    registry = Registry(retry=TWICE)
    registry.on("stripe", name="pay")(returns_in_the_end)
    await shop.deliver()
    async with shop.working(registry, grace_seconds=0.1):
        await shop.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO effect%'")
        began = time.monotonic()
    assert time.monotonic() - began < 4
    assert await shop.dispatch() == ("ready", 0, "worker_stopped")
    assert await shop.attempts() == [(1, "retry", "worker_stopped")]
    RELEASE.set()
    await until(lambda: len(ended) == 1)
    assert await shop.effects() == 0


@pytest.mark.parametrize("handler", ["stubborn", "hang"])
async def test_program_ends_though_its_handler_will_not(shop: Shop, handler: str) -> None:
    await shop.deliver(handler)
    with shop.program(handler, grace_seconds=0.5) as process:
        await shop.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO effect%'")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 15) == 0
        assert time.monotonic() - began < 10
    assert await shop.dispatch(handler) == ("ready", 0, "worker_stopped")


async def test_program_whose_loop_is_blocked_loses_its_leases_and_says_so(shop: Shop, tmp_path: Path) -> None:
    registry = Registry(retry=TWICE)
    for name in ("block", "pay"):
        registry.on("stripe", name=name)(write)
    said = tmp_path / "log"
    event_id = await shop.deliver("block")
    with said.open("wb") as log, shop.program("block,pay", stdout=log, lease_seconds=2, concurrency=1):
        await shop.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO effect%'")
        await shop.deliver("pay")
        async with shop.working(registry):
            await shop.until_done()
        assert await shop.rows("SELECT handler, count(*) FROM effect GROUP BY 1 ORDER BY 1") == [
            ("block", 1),
            ("pay", 1),
        ]
        assert await shop.attempts("block") == [(1, "lost", "lease_expired"), (2, "succeeded", None)]
        await until(lambda: "loop_blocked" in said.read_text())
    (line,) = [line for line in said.read_text().splitlines() if "loop_blocked" in line]
    assert f"event_id={event_id}" in line
    assert "handler=block" in line
    assert "program.py:" in line


async def test_who_stops_when_cancelled_is_not_left_behind_after_a_standstill(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time and its grace were over before anybody could cancel it."""
    monkeypatch.setattr("receiver.dispatch.call.WATCHED", 0.1)
    waiting = asyncio.Event()

    async def waits(_event: Event, _tx: AsyncSession) -> None:
        waiting.set()
        await asyncio.sleep(60)

    async def blocks(_event: Event, _tx: AsyncSession) -> None:
        await waiting.wait()
        time.sleep(1)  # noqa: ASYNC251 - just that

    registry = Registry(retry=RetryPolicy(attempts=1))
    registry.on("stripe", name="waits", timeout=0.3)(waits)
    registry.on("stripe", name="blocks")(blocks)
    await shop.deliver("waits", "blocks")
    with capture_logs() as lines:
        async with shop.working(registry, concurrency=2):
            await shop.until_done()
    assert "handler_abandoned" not in {line["event"] for line in lines}
    error = await shop.value("SELECT error FROM receiver.attempt WHERE handler = 'waits'")
    assert str(error).startswith("receiver.errors.HandlerTimedOut: still running after 0.3 seconds")
