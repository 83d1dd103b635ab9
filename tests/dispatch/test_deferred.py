"""What must wait, and what must spare others: NotYet, circuits, limits of single handlers, lanes in a worker."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Mapping

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from receiver.dispatch.circuit import WINDOW, Circuit
from receiver.events import Event
from receiver.handlers import NotYet, Registry, RetryPolicy
from receiver.storage.leases import Ask, Claim, LeaseConnection
from tests.dispatch.conftest import Runs, Shop, until

PLACED = """
INSERT INTO receiver.dispatch (event_id, handler, lane, lane_at) VALUES ($1, 'pay', $2, $3)
"""
EVENT = """
INSERT INTO receiver.event (id, key, source, provider, external_id, headers, body)
VALUES ($1, $2, 'stripe', 'stripe', $3, '{}', '{}')
"""
START = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def write(event: Event, tx: AsyncSession) -> None:
    await tx.execute(text("INSERT INTO effect VALUES (:id, :handler)"), {"id": event.id, "handler": event.handler})


async def test_not_yet_uses_up_no_attempt_and_succeeds_when_it_can(shop: Shop) -> None:
    registry = Registry()

    @registry.on("stripe", retry=RetryPolicy(attempts=1))
    async def pay(event: Event, tx: AsyncSession) -> None:
        if not (await tx.execute(text("SELECT count(*) FROM outside"))).scalar():
            raise NotYet("order_not_there", after=0.01)
        await write(event, tx)

    await shop.deliver()
    async with shop.working(registry):
        await shop.until("SELECT deferrals >= 3 AND deferred_at IS NOT NULL FROM receiver.dispatch")
        await shop.execute("INSERT INTO outside VALUES ('the order')")
        await shop.until_done()
    assert await shop.dispatch() == ("succeeded", 1, None)
    assert await shop.effects() == 1
    outcomes = await shop.attempts()
    assert set(outcomes[:-1]) == {(1, "retry", "order_not_there")}
    assert outcomes[-1] == (1, "succeeded", None)


async def test_not_yet_is_bounded_in_time(shop: Shop) -> None:
    registry = Registry()

    @registry.on("stripe", retry=RetryPolicy(patience=0.3))
    async def pay(_event: Event, _tx: AsyncSession) -> None:
        raise NotYet

    await shop.deliver()
    async with shop.working(registry):
        await shop.until_done()
    assert (await shop.dispatch())[::2] == ("dead", "not_yet_too_long")


def test_patient_delays_grow_to_minutes() -> None:
    policy = RetryPolicy()
    assert [policy.patient_delay(n, 1.0) for n in (0, 1, 8, 9, 10_000)] == [2, 4, 512, 600, 600]
    assert policy.patient_delay(0, 0.0) == 1


def test_circuit_opens_when_most_fail_and_closes_with_the_first_success() -> None:
    clock = Clock()
    circuit = Circuit("pay", clock, Runs())
    for number in range(WINDOW):
        assert circuit.may_run()
        circuit.ran(failed=number % 2 == 0)
    assert not circuit.is_open  # half is not most
    circuit.ran(failed=True)
    assert not circuit.is_open  # the one that left the window had failed too
    circuit.ran(failed=True)
    assert circuit.is_open
    assert not circuit.may_run()
    clock.now = circuit.seconds_to_probe()
    assert circuit.may_run()
    assert not circuit.may_run()  # one probe at a time
    pauses = []
    for _ in range(7):
        circuit.ran(failed=True)
        pauses.append(round(circuit.seconds_to_probe()))
        clock.now += circuit.seconds_to_probe()
        assert circuit.may_run()
    assert pauses == [2, 4, 8, 16, 30, 30, 30]
    circuit.ran(failed=False)
    assert not circuit.is_open
    assert circuit.may_run()


async def test_open_circuit_spares_attempts_and_others_flow(shop: Shop) -> None:
    registry = Registry()
    down = asyncio.Event()
    down.set()

    @registry.on("stripe", retry=RetryPolicy(first=1, cap=1, attempts=5))
    async def pay(event: Event, tx: AsyncSession) -> None:
        if down.is_set():
            raise ConnectionError("the shop is down")
        await write(event, tx)

    registry.on("stripe", name="other")(write)
    for _ in range(200):
        await shop.deliver()
    async with shop.working(registry):
        await shop.until("SELECT count(*) >= $1 FROM receiver.every_attempt", WINDOW)
        for _ in range(20):
            await shop.deliver("other")
        await shop.until("SELECT count(*) = 20 FROM receiver.dispatch WHERE handler = 'other' AND state = 'succeeded'")
        tried = await shop.value("SELECT count(*) FROM receiver.every_attempt WHERE handler = 'pay'")
        assert isinstance(tried, int)
        assert tried < 60  # without the circuit all 200 would have been tried by now
        down.clear()
        await shop.until_done()
    assert await shop.effects() == 220
    assert await shop.value("SELECT count(*) FROM receiver.dispatch WHERE state = 'dead'") == 0


async def test_what_is_under_way_when_a_circuit_opens_does_not_put_off_its_first_probe(shop: Shop) -> None:
    registry, down = Registry(), asyncio.Event()
    slots, running = WINDOW + 10, 0

    @registry.on("stripe", retry=RetryPolicy(first=0.01, factor=1, cap=0.01))
    async def pay(event: Event, tx: AsyncSession) -> None:
        nonlocal running
        running += 1
        await down.wait()
        if running == slots:
            raise ConnectionError("the shop is down")
        await write(event, tx)

    for _ in range(slots):
        await shop.deliver()
    async with shop.working(registry, concurrency=slots):
        await until(lambda: running == slots)
        down.set()
        await shop.until("SELECT count(*) = 0 FROM receiver.dispatch WHERE state <> 'succeeded'", seconds=10)
    assert await shop.effects() == slots


@pytest.mark.parametrize("hangs", [False, True])
async def test_open_circuit_is_polled_and_not_hammered(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    """The time for a probe has come, and there is none to run; or one runs for longer than the pause behind it."""
    looks: list[Mapping[str, Ask]] = []
    lease = LeaseConnection.lease

    async def counted(self: LeaseConnection, asked: Mapping[str, Ask], *, suspects: bool = True) -> Claim:
        looks.append(asked)
        return await lease(self, asked, suspects=suspects)

    async def pay(_event: Event, _tx: AsyncSession) -> None:
        if shop.runs.open["pay"]:
            await asyncio.sleep(60)
        raise ConnectionError("the shop is down")

    monkeypatch.setattr(LeaseConnection, "lease", counted)
    registry = Registry(retry=RetryPolicy(attempts=1))
    registry.on("stripe", name="pay")(pay)
    registry.on("stripe", name="other")(write)
    for _ in range(WINDOW + hangs):
        await shop.deliver()
    async with shop.working(registry, concurrency=1, grace_seconds=0):
        await shop.until("SELECT count(*) = $1 FROM receiver.dispatch WHERE state = 'dead'", WINDOW)
        await asyncio.sleep(2.5)  # the first pause is one second
        before = len(looks)
        await asyncio.sleep(1)
        assert len(looks) - before < 10  # at 0.2 seconds between polls


async def test_handler_with_a_limit_is_not_run_more_often_at_once(shop: Shop) -> None:
    registry = Registry()
    running, most = 0, 0

    @registry.on("stripe", concurrency=2)
    async def pay(event: Event, tx: AsyncSession) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await write(event, tx)
        await asyncio.sleep(0.01)
        running -= 1

    for _ in range(30):
        await shop.deliver()
    async with shop.working(registry, concurrency=8, poll_seconds=30):
        await shop.until_done()
    assert most == 2
    assert await shop.effects() == 30


async def test_backlog_of_one_handler_does_not_starve_another(shop: Shop) -> None:
    registry = Registry()
    order: list[str] = []

    async def note(event: Event, tx: AsyncSession) -> None:
        order.append(event.handler)
        await write(event, tx)

    registry.on("stripe", name="pay")(note)
    registry.on("stripe", name="ship")(note)
    for _ in range(300):
        await shop.deliver("pay")
    for _ in range(10):
        await shop.deliver("ship")
    async with shop.working(registry):
        await shop.until_done()
    assert max(place for place, name in enumerate(order) if name == "ship") < 200


@pytest.mark.parametrize("workers", [1, 3])
async def test_lanes_keep_their_order_in_workers(shop: Shop, workers: int) -> None:
    """20 lanes of 10 events, delivered newest first, with failures among them."""
    registry = Registry()
    order: dict[str, list[str]] = {}
    failed: set[str] = set()

    @registry.on("stripe", lane="entity", retry=RetryPolicy(first=0.01, cap=0.01))
    async def pay(event: Event, tx: AsyncSession) -> None:
        lane, _, place = event.external_id.partition(":")
        if place == "4" and event.external_id not in failed:
            failed.add(event.external_id)
            raise ValueError
        order.setdefault(lane, []).append(place)
        await write(event, tx)

    for lane in range(20):
        for place in reversed(range(10)):
            event_id = uuid.uuid4()
            await shop.execute(EVENT, event_id, event_id.bytes, f"{lane}:{place}")
            await shop.execute(PLACED, event_id, lane, START + dt.timedelta(seconds=place))
    async with shop.working(registry):
        if workers == 1:
            await shop.until_done()
        else:
            async with shop.working(registry), shop.working(registry):
                await shop.until_done()
    assert len(failed) == 20
    assert order == {str(lane): [str(place) for place in range(10)] for lane in range(20)}
    assert await shop.effects() == 200
