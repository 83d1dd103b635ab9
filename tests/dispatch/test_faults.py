"""Workers that die, freeze, stop, and lose their servers: every effect still happens, and happens once."""

import asyncio
import itertools
import os
import signal
import statistics
import subprocess
import time
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver.embedded import EmbeddedServers
from receiver.events import Event
from receiver.handlers import AsyncFunction, Registry, RetryPolicy
from receiver.marks import Marks, connect
from tests.dispatch.conftest import Shop, open_shop
from tests.dispatch.program import charge
from tests.faults.oracle import QUIET

EFFECT = text("INSERT INTO effect VALUES (:id, :handler)")
QUICK = RetryPolicy(first=0.05, factor=1, cap=0.05, attempts=5)
NOWHERE = "redis://127.0.0.1:9/0"


async def write(event: Event, tx: AsyncSession) -> None:
    await tx.execute(EFFECT, {"id": event.id, "handler": event.handler})


def write_sync(event: Event, tx: Session) -> None:
    tx.execute(EFFECT, {"id": event.id, "handler": event.handler})


def writing(*names: str) -> Registry:
    registry = Registry(retry=QUICK)
    for name in names or ("pay",):
        registry.on("stripe", name=name)(write)
    return registry


async def until_dead(process: "subprocess.Popen[bytes]") -> int:
    """The status of a process that is about to end."""
    return await asyncio.to_thread(process.wait, 15)


@pytest.mark.parametrize(
    ("failpoint", "attempts"),
    [
        ("worker_before_commit", [(1, "lost", "lease_expired"), (2, "succeeded", None)]),
        ("worker_after_commit", [(1, "succeeded", None)]),
    ],
)
async def test_worker_that_dies_around_its_commit(shop: Shop, failpoint: str, attempts: list[object]) -> None:
    await shop.deliver()
    with shop.program("pay", failpoint, lease_seconds=1) as process:
        assert await until_dead(process) == -signal.SIGKILL
    async with shop.working(writing()):
        await shop.ask_oracle()
    assert await shop.effects() == 1
    assert await shop.attempts() == attempts


async def test_worker_that_dies_after_an_outside_call_repeats_it_with_the_same_key(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deliver("charge")
    with shop.program("charge", "worker_before_commit", lease_seconds=1) as process:
        assert await until_dead(process) == -signal.SIGKILL
    monkeypatch.setenv("OUTSIDE", shop.database_url)
    registry = Registry()
    registry.on("stripe")(charge)
    async with shop.working(registry):
        await shop.ask_oracle()
    assert await shop.rows("SELECT count(*), count(DISTINCT key) FROM outside") == [(2, 1)]
    assert await shop.effects() == 1


async def test_frozen_worker_is_fenced_out_when_it_thaws(shop: Shop) -> None:
    await shop.deliver()
    with shop.program("freeze", lease_seconds=1, concurrency=1) as process:
        await shop.execute("UPDATE receiver.dispatch SET handler = 'freeze'")
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        async with shop.working(writing("freeze")):
            await shop.ask_oracle()
        process.send_signal(signal.SIGCONT)
        await shop.until(
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'receiver-worker'"
            " AND datname = current_database() AND query LIKE 'ROLLBACK; EXECUTE receiver_fail%'"
        )
        process.terminate()
        assert await until_dead(process) == 0
    await shop.ask_oracle()
    assert await shop.attempts("freeze") == [(1, "lost", "lease_expired"), (2, "succeeded", None)]


@pytest.mark.parametrize("clock", [600, -600])
async def test_a_wrong_clock_neither_shortens_nor_lengthens_a_lease(shop: Shop, clock: int) -> None:
    """One that is ten minutes wrong takes over what was abandoned, and what it abandons is taken over, in time."""
    lease = 1.5
    await shop.deliver()
    async with shop.leasing(seconds=lease) as leasing:
        assert len(await leasing.take(1)) == 1
    with shop.program("pay", "worker_before_commit", clock=clock, lease_seconds=lease, poll_seconds=0.05) as process:
        assert await until_dead(process) == -signal.SIGKILL
    async with shop.working(writing(), poll_seconds=0.05):
        await shop.ask_oracle()
    assert await shop.attempts() == [
        (1, "lost", "lease_expired"),
        (2, "lost", "lease_expired"),
        (3, "succeeded", None),
    ]
    starts = await shop.rows("SELECT extract(epoch FROM started_at)::float8 FROM receiver.every_attempt ORDER BY epoch")
    waits = [float(str(after)) - float(str(before)) for (before,), (after,) in itertools.pairwise(starts)]
    assert all(lease <= wait < 30 for wait in waits), waits


async def test_frozen_worker_lets_go_of_its_locks_before_its_lease_ends(shop: Shop) -> None:
    """Whoever else waits for a row that its handler locked does not have to wait for the lease as well."""
    await shop.deliver("freeze")
    with shop.program("freeze", lease_seconds=3, concurrency=1) as process:
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        locks = (
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()"
        )
        assert await shop.value(locks) == 1
        await shop.execute("BEGIN")
        await shop.execute("SELECT FROM receiver.dispatch FOR UPDATE")
        assert await shop.value("SELECT due_at > clock_timestamp() AND state = 'leased' FROM receiver.dispatch")
        await shop.execute("COMMIT")
    async with shop.working(writing("freeze")):
        await shop.ask_oracle()
    assert await shop.attempts("freeze") == [(1, "lost", "lease_expired"), (2, "succeeded", None)]


POISONS = ("poison", "leave", "fail", "wait", "wait_sync")
"""Kills its worker, ends it, raises, never returns, never returns its thread."""


async def ended_before_all_was_done(process: "subprocess.Popen[bytes]", shop: Shop) -> bool:
    """Whichever comes first."""
    while process.poll() is None:
        if await shop.value(QUIET):
            return False
        await asyncio.sleep(0.02)
    return True


async def test_poison_ends_dead_and_wears_out_nobody_else(shop: Shop) -> None:  # fault 28
    for name in ("pay", *POISONS, "pay", "pay"):
        for _ in range(3 if name == "pay" else 1):
            await shop.deliver(name)
    ends = 0
    while not await shop.value(QUIET):
        with shop.program(
            ",".join(("pay", *POISONS)), lease_seconds=1, concurrency=4, poll_seconds=0.1, grace_seconds=0
        ) as process:
            ends += await ended_before_all_was_done(process, shop)
        await shop.execute("UPDATE receiver.dispatch SET due_at = now() WHERE state = 'leased'")
        assert ends <= 6, "three for each of the two that end their worker"
    for name in POISONS:
        assert await shop.dispatch(name) == ("dead", 3, "attempts_exhausted"), name
    assert await shop.rows("SELECT DISTINCT state FROM receiver.dispatch WHERE handler = 'pay'") == [("succeeded",)]
    await shop.ask_oracle(dead=True)


async def test_handler_longer_than_its_lease_keeps_it(shop: Shop) -> None:
    runs = []

    async def lingers(event: Event, tx: AsyncSession) -> None:
        runs.append(event.attempt)
        await write(event, tx)
        await asyncio.sleep(3)

    def lingers_sync(event: Event, tx: Session) -> None:
        runs.append(event.attempt)
        write_sync(event, tx)
        time.sleep(3)

    registry = Registry()
    registry.on("stripe", name="pay")(lingers)
    registry.on("stripe", name="sync")(lingers_sync)
    await shop.deliver("pay", "sync")
    await shop.deliver("pay", "sync")  # these wait for a slot, longer than a lease
    async with shop.working(registry, lease_seconds=2, concurrency=2):
        await shop.until("SELECT count(*) = 4 FROM receiver.dispatch WHERE state = 'leased'")
        async with shop.working(registry, lease_seconds=2):
            await shop.ask_oracle()
    assert await shop.effects() == 4
    assert await shop.rows("SELECT DISTINCT number, outcome FROM receiver.every_attempt") == [(1, "succeeded")]
    assert runs == [1, 1, 1, 1]


async def test_drain_finishes_what_runs_and_gives_back_what_does_not(shop: Shop) -> None:
    started, proceed = asyncio.Event(), asyncio.Event()

    async def waits(event: Event, tx: AsyncSession) -> None:
        await write(event, tx)
        started.set()
        await proceed.wait()

    registry = Registry()
    registry.on("stripe", name="pay")(waits)
    for _ in range(3):
        await shop.deliver()
    async with shop.working(registry, concurrency=1) as worker:
        await started.wait()
        await shop.until("SELECT count(*) >= 2 FROM receiver.dispatch WHERE state = 'leased'")
        leaving = asyncio.create_task(worker.__aexit__(None, None, None))
        await shop.until("SELECT count(*) = 2 FROM receiver.dispatch WHERE state = 'ready' AND due_at <= now()")
        assert await shop.effects() == 0
        proceed.set()
        await leaving
    assert await shop.effects() == 1
    assert sorted(await shop.rows("SELECT state, attempts FROM receiver.dispatch")) == [
        ("ready", 0),
        ("ready", 0),
        ("succeeded", 1),
    ]


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_what_outlasts_the_grace_is_undone_and_due_again(shop: Shop, kind: str) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def hangs(event: Event, tx: AsyncSession) -> None:
        await write(event, tx)
        started.set()
        await asyncio.sleep(60)

    def hangs_sync(event: Event, tx: Session) -> None:
        write_sync(event, tx)
        loop.call_soon_threadsafe(started.set)
        tx.execute(text("SELECT pg_sleep(60)"))

    registry = Registry()
    registry.on("stripe", name="pay")(hangs if kind == "async" else hangs_sync)
    await shop.deliver()
    async with shop.working(registry, grace_seconds=0.1):
        await started.wait()
    assert await shop.effects() == 0
    assert await shop.dispatch() == ("ready", 0, "worker_stopped")
    assert await shop.attempts() == [(1, "retry", "worker_stopped")]
    async with shop.working(writing()):
        await shop.ask_oracle()
    assert await shop.effects() == 1


async def test_handler_that_will_not_be_cancelled_may_finish(shop: Shop) -> None:
    started = asyncio.Event()

    async def insists(event: Event, tx: AsyncSession) -> None:
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await write(event, tx)

    registry = Registry()
    registry.on("stripe", name="pay")(insists)
    await shop.deliver()
    async with shop.working(registry, grace_seconds=0.1):
        await started.wait()
    assert await shop.dispatch() == ("succeeded", 1, None)
    assert await shop.effects() == 1


ALWAYS = 99


async def test_deadlock_is_just_a_retry(shop: Shop) -> None:  # fault 21
    met = asyncio.Barrier(2)

    def locks(first: int, second: int) -> AsyncFunction:
        async def lock(event: Event, tx: AsyncSession) -> None:
            await write(event, tx)
            await tx.execute(text("UPDATE stock SET count = count - 1 WHERE id = :id"), {"id": first})
            if event.attempt == 1:
                await met.wait()
            await tx.execute(text("UPDATE stock SET count = count - 1 WHERE id = :id"), {"id": second})

        return lock

    registry = Registry(retry=QUICK)
    registry.on("stripe", name="pay")(locks(1, 2))
    registry.on("stripe", name="ship")(locks(2, 1))
    await shop.deliver("pay", "ship")
    async with shop.working(registry, poll_seconds=60):  # a retry that is due before the next poll is not kept waiting
        await shop.ask_oracle()
    assert await shop.rows("SELECT count FROM stock") == [(8,), (8,)]
    assert await shop.effects() == 2
    assert sorted(outcome for _, outcome in shop.runs.heard) == ["retry", "succeeded", "succeeded"]


NOT_SERIALIZABLE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.note = 'too early' THEN RAISE 'could not serialize access' USING ERRCODE = 'serialization_failure'; END IF;
    RETURN NEW;
END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON effect {when} FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize("when", ["", "DEFERRABLE INITIALLY DEFERRED"], ids=["in the handler", "at its commit"])
@pytest.mark.parametrize("failures", [2, ALWAYS])
async def test_serialization_failure_is_retried_in_new_transactions_and_not_for_ever(  # fault 21
    shop: Shop, when: str, failures: int
) -> None:
    transactions = []
    await shop.execute(NOT_SERIALIZABLE.format(when=when))
    registry = Registry(retry=QUICK)

    @registry.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        transactions.append((await tx.execute(text("SELECT pg_current_xact_id()::text"))).scalar())
        note = "too early" if event.attempt <= failures else "in time"
        values = {"id": event.id, "handler": event.handler, "note": note}
        await tx.execute(text("INSERT INTO effect VALUES (:id, :handler, :note)"), values)

    await shop.deliver()
    async with shop.working(registry):
        await shop.ask_oracle(dead=failures == ALWAYS)
    runs = min(failures + 1, QUICK.attempts)
    assert len(set(transactions)) == len(transactions) == runs
    expected = ("dead", runs, "attempts_exhausted") if failures == ALWAYS else ("succeeded", runs, None)
    assert await shop.dispatch() == expected


async def test_poll_finds_what_redis_does_not_tell(shop: Shop) -> None:
    async with shop.working(writing(), redis_url=NOWHERE, poll_seconds=0.05):
        await shop.deliver()
        await shop.ask_oracle()
    assert await shop.effects() == 1


async def test_idle_worker_starts_within_50_ms(shop: Shop) -> None:
    started: list[float] = []

    async def notes(_event: Event, _tx: AsyncSession) -> None:
        started.append(time.perf_counter())

    registry = Registry()
    registry.on("stripe", name="pay")(notes)
    marks = Marks(connect(shop.redis_url, timeout=1), ttl=60)
    waits = []
    async with shop.working(registry, poll_seconds=30):
        for number in range(20):
            await shop.until("SELECT count(*) = $1 FROM receiver.every_attempt", number)
            await shop.deliver()
            committed = time.perf_counter()
            marks.nudge()
            await shop.until("SELECT count(*) = $1 FROM receiver.every_attempt", number + 1)
            waits.append(started[-1] - committed)
    await marks.close()
    assert statistics.median(waits) < 0.05, waits


async def test_postgres_restarts_and_all_recovers(own_servers: EmbeddedServers, own_shop: Shop) -> None:
    running, release = asyncio.Event(), asyncio.Event()

    async def waits(event: Event, tx: AsyncSession) -> None:
        await write(event, tx)
        if event.attempt == 1:
            running.set()
            await release.wait()

    registry = Registry(retry=QUICK)
    registry.on("stripe", name="pay")(waits)
    for _ in range(20):
        await own_shop.deliver()
    async with own_shop.working(registry, lease_seconds=5, concurrency=2):
        await running.wait()
        await asyncio.to_thread(own_servers.postgres.stop_immediate)
        release.set()
        await asyncio.to_thread(own_servers.postgres.start)
        async with open_shop(own_servers.database_url, own_servers.redis_url) as after:
            await after.deliver()
            await after.ask_oracle()
            assert await after.effects() == 21


@pytest.mark.parametrize("wait_for_disk", [True, False])
async def test_commits_that_a_crash_of_postgres_undoes_are_made_again(
    own_servers: EmbeddedServers, own_shop: Shop, *, wait_for_disk: bool
) -> None:
    registry = Registry(retry=QUICK)
    registry.on("stripe", name="pay")(write)
    there = await own_shop.effects()
    for _ in range(600):
        await own_shop.deliver()
    async with own_shop.working(registry, lease_seconds=2, wait_for_disk=wait_for_disk):
        for least in (100, 200, 300):
            async with open_shop(own_servers.database_url, own_servers.redis_url) as before:
                await before.until("SELECT count(*) >= $1 FROM effect", there + least)
            await asyncio.to_thread(own_servers.postgres.stop_immediate)
            await asyncio.to_thread(own_servers.postgres.start)
        async with open_shop(own_servers.database_url, own_servers.redis_url) as after:
            await after.ask_oracle()
            assert await after.effects() == there + 600
