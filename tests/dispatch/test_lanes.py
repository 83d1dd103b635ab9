"""Order in lanes, race by race: two owners, statement by statement."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from receiver.errors import LeaseLost
from receiver.storage.engine import raw_connection
from receiver.storage.leases import Lease
from receiver.storage.outcomes import Failure
from receiver.storage.replays import replay_event
from receiver.storage.runs import RunConnection
from tests.dispatch.conftest import Leasing, Shop

START = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
LANE = 7
DELIVER = """
INSERT INTO receiver.dispatch (event_id, handler, lane, lane_at, due_at)
VALUES ($1, 'pay', $2, $3, now() - interval '1 minute')
"""
EVENT = """
INSERT INTO receiver.event (id, key, source, provider, external_id, headers, body)
VALUES ($1, $2, 'stripe', 'stripe', $3, '{}', '{}')
"""
WAITS_FOR_LANE = """
SELECT count(*) > 0 FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
"""
END_WHO_WAITS = """
SELECT count(pg_terminate_backend(pid)) = 1 FROM pg_stat_activity
WHERE application_name = 'receiver-leases' AND datname = current_database() AND wait_event_type = 'Lock'
"""
RUN_OUT = "UPDATE receiver.dispatch SET due_at = now() - interval '1 second' WHERE event_id = $1"
DEAD = Failure(dead=True, delay=0, reason="handler_raised", error=None)
BLOCKING = Failure(dead=True, delay=0, reason="handler_raised", error=None, blocks=True)
LATER = Failure(dead=False, delay=1000, reason="handler_raised", error=None)


class Lanes:
    """Events named by when they happened, and how far each has come."""

    def __init__(self, shop: Shop, leasing: Leasing, run: RunConnection) -> None:
        self.shop = shop
        self.leasing = leasing
        self.run = run
        self._ids: dict[int, uuid.UUID] = {}

    async def deliver(self, *times: int, lane: int = LANE, connection: asyncpg.Connection | None = None) -> None:
        """Store events that happened at these seconds."""
        execute = connection.execute if connection is not None else self.shop.execute
        for at in times:
            # Later times get smaller ids, so that nothing is in order by chance.
            self._ids[at] = uuid.UUID(int=(1_000 - at) << 64)
            await execute(EVENT, self._ids[at], self._ids[at].bytes, f"evt_{at}")
            await execute(DELIVER, self._ids[at], lane, START + dt.timedelta(seconds=at))

    def event_id(self, at: int) -> uuid.UUID:
        return self._ids[at]

    def at(self, lease: Lease) -> int:
        return next(at for at, event_id in self._ids.items() if event_id == lease.event_id)

    async def take(self, most: int = 10) -> list[Lease]:
        return await self.leasing.take(most)

    async def taken(self, most: int = 10) -> list[int]:
        return [self.at(lease) for lease in await self.take(most)]

    async def succeed(self, lease: Lease) -> None:
        await self.run.begin(lease)
        await self.run.succeed(lease)

    async def states(self) -> dict[int, str]:
        rows = await self.shop.rows("SELECT event_id, state FROM receiver.dispatch")
        found = {event_id: str(state) for event_id, state in rows}
        return {at: found[event_id] for at, event_id in sorted(self._ids.items())}

    async def run_out(self, lease: Lease) -> None:
        await self.shop.execute(RUN_OUT, lease.event_id)

    async def finish_all(self) -> list[int]:
        """Run all that is left; the order in which it was run."""
        order = []
        for _ in range(100):
            leases = await self.take()
            for lease in leases:
                order.append(self.at(lease))
                await self.succeed(lease)
            if not leases and not await self.shop.value(
                "SELECT count(*) FROM receiver.dispatch WHERE state IN ('ready', 'waiting', 'leased')"
            ):
                return order
        pytest.fail(f"stuck: {await self.states()}")


@pytest.fixture
async def lanes(shop: Shop) -> AsyncIterator[Lanes]:
    async with shop.leasing() as leasing, running(shop) as run:
        yield Lanes(shop, leasing, run)


@asynccontextmanager
async def running(shop: Shop) -> AsyncIterator[RunConnection]:
    async with shop.engine() as engine:
        connection = RunConnection(engine)
        await connection.open()
        try:
            yield connection
        finally:
            await connection.discard()


async def test_one_at_a_time_the_oldest_first(lanes: Lanes) -> None:
    await lanes.deliver(3, 1, 2)
    assert await lanes.taken() == [1]
    assert await lanes.taken() == []
    assert await lanes.states() == {1: "leased", 2: "waiting", 3: "waiting"}


async def test_other_lanes_do_not_wait(lanes: Lanes) -> None:
    await lanes.deliver(1, 2)
    await lanes.deliver(3, 4, lane=8)
    assert sorted(await lanes.taken()) == [1, 3]


async def test_finishing_one_makes_the_next_ready(lanes: Lanes) -> None:
    await lanes.deliver(3, 1, 2)
    (first,) = await lanes.take()
    await lanes.succeed(first)
    assert await lanes.states() == {1: "succeeded", 2: "ready", 3: "waiting"}
    assert await lanes.finish_all() == [2, 3]


async def test_older_one_that_commits_during_the_run_of_a_newer_comes_next_and_is_late(
    lanes: Lanes, database_url: str
) -> None:
    await lanes.deliver(2, 3)
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await lanes.deliver(1, connection=other)
            (newer,) = await lanes.take()
            assert (lanes.at(newer), newer.late) == (2, False)
        assert await lanes.take() == []
        await lanes.succeed(newer)
        (older,) = await lanes.take()
        assert (lanes.at(older), older.late) == (1, True)
        await lanes.succeed(older)
        (last,) = await lanes.take()
        assert (lanes.at(last), last.late) == (3, False)
    finally:
        await other.close()


async def test_older_one_that_commits_after_a_newer_was_handled_is_late(lanes: Lanes, database_url: str) -> None:
    await lanes.deliver(2)
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await lanes.deliver(1, connection=other)
            (newer,) = await lanes.take()
            await lanes.succeed(newer)
            assert await lanes.take() == []
        (older,) = await lanes.take()
        assert (lanes.at(older), older.late) == (1, True)
    finally:
        await other.close()


async def test_older_one_that_commits_between_look_and_claim_is_not_overtaken(lanes: Lanes) -> None:
    """The claim's snapshot must be newer than its lock."""
    await lanes.deliver(2)
    (row,) = await lanes.take()  # connects
    await lanes.leasing.give_back([row])
    own = lanes.leasing._kept._own
    assert own is not None
    plain = own.say

    async def say_late(sql: str, seconds: float | None = None) -> str:
        if sql.lstrip().startswith("BEGIN"):
            status = await plain(sql, seconds)
            await lanes.deliver(1)  # commits after the look, before the decision
            return status
        return await plain(sql, seconds)

    own.say = say_late  # type: ignore[method-assign]
    assert await lanes.taken() == []  # the head was not among what was seen: the next claim takes it
    own.say = plain  # type: ignore[method-assign]
    assert await lanes.taken() == [1]


async def test_session_that_ends_at_the_lanes_keeps_what_was_leased_before(lanes: Lanes, database_url: str) -> None:
    """That is committed by then: whoever lost it would stand still until it had run out."""
    await lanes.deliver(1)
    free = await lanes.shop.deliver()
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("LOCK TABLE receiver.lane")
        looking = asyncio.create_task(lanes.take())
        await lanes.shop.until(END_WHO_WAITS)
        assert [lease.event_id for lease in await looking] == [free]
        assert await lanes.states() == {1: "ready"}
    await other.close()
    assert await lanes.taken() == [1]


async def test_insert_while_the_last_of_a_lane_is_finished_is_not_forgotten(lanes: Lanes, database_url: str) -> None:
    await lanes.deliver(1)
    (first,) = await lanes.take()
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await lanes.deliver(2, connection=other)
            await lanes.succeed(first)
    finally:
        await other.close()
    assert await lanes.finish_all() == [2]


async def test_lane_that_somebody_looks_at_is_left_alone_and_its_finish_waits(lanes: Lanes, database_url: str) -> None:
    await lanes.deliver(1, 2)
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await other.execute("SELECT pg_advisory_xact_lock($1)", LANE)
            assert await lanes.take() == []
            assert await lanes.states() == {1: "ready", 2: "ready"}
    finally:
        await other.close()
    assert await lanes.finish_all() == [1, 2]


async def test_park_against_completion(lanes: Lanes) -> None:
    """A claim has seen the head leased and parks what is behind it, while the head is finished: who promotes?"""
    await lanes.deliver(1)
    (first,) = await lanes.take()
    await lanes.run.begin(first)
    await lanes.deliver(2)
    own = lanes.leasing._kept._own
    assert own is not None
    plain, finishing = own.say, []

    async def say_late(sql: str, seconds: float | None = None) -> str:
        if sql == "COMMIT":
            finishing.append(asyncio.create_task(lanes.run.succeed(first)))
            await lanes.shop.until(WAITS_FOR_LANE, seconds=5)
        return await plain(sql, seconds)

    own.say = say_late  # type: ignore[method-assign]
    assert await lanes.take() == []
    own.say = plain  # type: ignore[method-assign]
    await finishing[0]
    assert await lanes.finish_all() == [2]


async def test_two_claims_on_one_lane_lease_one(lanes: Lanes, shop: Shop) -> None:
    """The second claim comes when the first has decided and not committed, and again when it has."""
    await lanes.deliver(2)
    (row,) = await lanes.take()  # connects
    await lanes.leasing.give_back([row])
    await lanes.deliver(1, 3, 4)
    own = lanes.leasing._kept._own
    assert own is not None
    plain, meanwhile = own.say, []

    async with shop.leasing(worker="w2") as second:

        async def say_late(sql: str, seconds: float | None = None) -> str:
            if sql == "COMMIT":
                meanwhile.append(await second.take(10))
            return await plain(sql, seconds)

        own.say = say_late  # type: ignore[method-assign]
        assert await lanes.taken() == [1]
        own.say = plain  # type: ignore[method-assign]
        assert [*meanwhile, await second.take(10)] == [[], []]


async def test_expired_lease_of_a_living_run_keeps_its_lane(lanes: Lanes) -> None:
    await lanes.deliver(1, 2)
    (first,) = await lanes.take()
    await lanes.run_out(first)
    await lanes.run.begin(first)
    assert await lanes.take() == []
    await lanes.run.succeed(first)
    assert await lanes.finish_all() == [2]


async def test_expired_lease_of_a_dead_worker_is_taken_over_in_its_lane(lanes: Lanes) -> None:
    await lanes.deliver(1, 2)
    (first,) = await lanes.take()
    await lanes.run_out(first)
    (again,) = await lanes.take()
    assert (again.event_id, again.epoch, again.attempt) == (first.event_id, 2, 2)
    with pytest.raises(LeaseLost):
        await lanes.run.begin(first)
    assert await lanes.shop.attempts() == [(1, "lost", "lease_expired")]
    await lanes.succeed(again)
    assert await lanes.finish_all() == [2]


async def test_expired_newer_one_gives_way_to_a_late_older_one(lanes: Lanes) -> None:
    await lanes.deliver(2)
    (newer,) = await lanes.take()
    await lanes.deliver(1)
    await lanes.run_out(newer)
    assert await lanes.finish_all() == [1, 2]
    with pytest.raises(LeaseLost):
        await lanes.run.begin(newer)
    assert (1, "lost", "lease_expired") in await lanes.shop.attempts()


async def test_head_in_back_off_holds_its_lane(lanes: Lanes) -> None:
    await lanes.deliver(1, 2)
    (first,) = await lanes.take()
    assert await lanes.run.fail(first, LATER, 0.1)
    assert await lanes.take() == []
    assert await lanes.states() == {1: "ready", 2: "waiting"}
    await lanes.shop.execute(RUN_OUT, first.event_id)
    assert await lanes.finish_all() == [1, 2]


async def test_back_off_of_a_newer_one_does_not_hold_an_older(lanes: Lanes) -> None:
    await lanes.deliver(2)
    (newer,) = await lanes.take()
    await lanes.deliver(1)
    assert await lanes.take() == []
    assert await lanes.states() == {1: "waiting", 2: "leased"}
    assert await lanes.run.fail(newer, LATER, 0.1)
    assert await lanes.states() == {1: "ready", 2: "ready"}
    assert await lanes.taken() == [1]


async def test_parked_one_keeps_its_own_time(lanes: Lanes) -> None:
    """An older one in back-off that was parked is not run before its time."""
    await lanes.deliver(2)
    (newer,) = await lanes.take()
    assert await lanes.run.fail(newer, LATER, 0.1)
    await lanes.deliver(1, 3)
    (older,) = await lanes.take()
    assert lanes.at(older) == 1
    await lanes.succeed(older)
    assert await lanes.take() == []
    assert (await lanes.states())[2] == "ready"


async def test_dead_one_lets_the_lane_pass(lanes: Lanes) -> None:
    await lanes.deliver(1, 2, 3)
    (first,) = await lanes.take()
    assert await lanes.run.fail(first, DEAD, 0.1)
    assert await lanes.states() == {1: "dead", 2: "ready", 3: "waiting"}
    assert await lanes.finish_all() == [2, 3]


@pytest.mark.parametrize("how", ["failed", "buried"])
async def test_dead_one_blocks_the_lane_until_it_is_replayed(lanes: Lanes, how: str) -> None:
    await lanes.deliver(2, 3)
    (first,) = await lanes.take()
    if how == "failed":
        assert await lanes.run.fail(first, BLOCKING, 0.1)
    else:
        assert await lanes.run.bury(first, "attempts_exhausted", blocks=True)
    await lanes.deliver(4, 1)
    assert await lanes.taken() == [1]  # older than the one that blocks
    assert await lanes.states() == {1: "leased", 2: "dead", 3: "waiting", 4: "waiting"}
    await replay(lanes.shop, first.event_id)
    await lanes.shop.execute("UPDATE receiver.dispatch SET due_at = now() WHERE state = 'leased'")
    assert await lanes.finish_all() == [1, 2, 3, 4]


async def test_replay_while_the_lane_is_busy_waits_its_turn_and_is_late(lanes: Lanes) -> None:
    await lanes.deliver(1, 2, 3)
    (first,) = await lanes.take()
    assert await lanes.run.fail(first, DEAD, 0.1)
    (second,) = await lanes.take()
    await replay(lanes.shop, first.event_id)
    assert await lanes.take() == []
    await lanes.succeed(second)
    (again,) = await lanes.take()
    assert (lanes.at(again), again.late) == (1, True)
    await lanes.succeed(again)
    assert await lanes.finish_all() == [3]


@pytest.mark.parametrize(("at", "late"), [(1, True), (3, False)])
async def test_replay_of_what_succeeded_is_late_if_a_later_one_was_handled(
    lanes: Lanes, *, at: int, late: bool
) -> None:
    await lanes.deliver(1, 2, 3)
    assert await lanes.finish_all() == [1, 2, 3]
    await replay(lanes.shop, lanes.event_id(at), again=True)
    (again,) = await lanes.take()
    assert (lanes.at(again), again.late) == (at, late)


async def test_given_back_one_stays_in_order(lanes: Lanes) -> None:
    await lanes.deliver(2)
    (newer,) = await lanes.take()
    await lanes.deliver(1)
    assert await lanes.take() == []
    await lanes.leasing.give_back([newer])
    assert await lanes.finish_all() == [1, 2]


async def test_long_lane_does_not_hide_the_others(lanes: Lanes) -> None:
    await lanes.deliver(*range(1, 200))
    await lanes.deliver(999, lane=8)
    taken: list[int] = []
    for _ in range(10):
        taken += await lanes.taken(32)
    assert taken == [1, 999]


async def replay(shop: Shop, event_id: uuid.UUID, *, again: bool = False) -> None:
    async with shop.engine() as engine, engine.connect() as connection:
        assert await replay_event(await raw_connection(connection), event_id, None, again=again) == ["pay"]
