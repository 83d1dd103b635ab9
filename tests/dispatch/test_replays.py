"""Replay jobs on the real database: what they take, step by step, and what they survive."""

import asyncio
import datetime as dt
import math
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from receiver.dispatch.replayer import MOST, portion
from receiver.errors import StoreUnavailable
from receiver.events import Event
from receiver.handlers import Dead, Registry, lane_number
from receiver.handlers.lanes import LaneFunction
from receiver.operate import jobs
from receiver.operate.errors import AgainNeeded, NothingToReplay, RateWrong, ReplayOver, ReplayUnknown
from receiver.operate.replays import replay_event
from receiver.storage.audit import Said
from receiver.storage.engine import Connection, raw_connection
from receiver.storage.replays import Job, get
from receiver.storage.selections import Selection
from receiver.storage.stepping import StepConnection, step_engine
from receiver.storage.steps import Stepped
from tests.dispatch.conftest import Shop

WHO: Final = Said(who="test", why="because")
DAY: Final = dt.timedelta(days=1)
DEAD: Final = Selection(state="dead")
CREATES: Final = Selection(
    state="dead", handler="added", creates=True, received_after=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
)

# Ids are UUIDv7, a millisecond apart.
MANY: Final = """
WITH made AS (
    SELECT n, (lpad(to_hex((extract(epoch FROM $2::timestamptz) * 1000)::bigint + n), 12, '0') || '70008000'
               || lpad(to_hex(n), 12, '0'))::uuid AS id
    FROM generate_series(1, $1::int) AS n
), stored AS (
    INSERT INTO receiver.event
        (id, key, source, provider, external_id, type, entity_id, occurred_at, received_at, headers, body)
    SELECT id, uuid_send(id), $4, $4, 'evt_' || n, $5, 'order_' || n % 10, $2::timestamptz + n * interval '1 ms',
           $2, '{}', '{"id": 1}'
    FROM made
)
INSERT INTO receiver.dispatch (event_id, handler, state, attempts, reason, due_at)
SELECT id, $3, $6, 3, $7, now() FROM made WHERE $3::text IS NOT NULL
"""
CLAIM: Final = """
UPDATE receiver.dispatch SET state = 'leased', epoch = 1, attempts = 2, worker = 'w2', leased_at = now(),
    due_at = now() + interval '1 minute'
WHERE event_id = $1
"""
CUT: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'receiver-replays' AND datname = current_database()
"""
# A server whose clock is a little behind another's: the id lies among those that were there.
LATE: Final = """
WITH stored AS (
    INSERT INTO receiver.event (id, key, source, provider, external_id, type, headers, body, received_at)
    SELECT (substr(id::text, 1, 14) || '7fff' || substr(id::text, 19))::uuid, 'late', 'stripe', 'stripe', 'evt_late',
           'charge.paid', '{}', '{}', clock_timestamp()
    FROM receiver.event ORDER BY id LIMIT 1
    RETURNING id
)
INSERT INTO receiver.dispatch (event_id, handler, state, epoch, attempts)
SELECT id, $1, $2, 1, 1 FROM stored WHERE $1::text IS NOT NULL
"""
UNTOUCHED: Final = "SELECT count(*) FROM receiver.dispatch WHERE epoch = 0"
ONCE: Final = """
SELECT count(*) FROM receiver.dispatch
WHERE state = 'ready' AND epoch = 1 AND trigger = 'manual' AND attempts = 0 AND reason IS NULL AND due_at <= now()
"""


async def many(
    shop: Shop,
    count: int,
    *,
    handler: str | None = "lost",
    state: str = "dead",
    source: str = "stripe",
    kind: str | None = "charge.paid",
    reason: str | None = "handler_raised",
    age: dt.timedelta = DAY,
) -> None:
    """Store events, each owed to a handler that no worker knows, in one state."""
    at = dt.datetime.now(dt.UTC) - age
    await shop.execute(MANY, count, at, handler, source, kind, state, reason)


@asynccontextmanager
async def operating(shop: Shop) -> AsyncIterator[Connection]:
    async with shop.engine() as engine, engine.connect() as connection:
        yield await raw_connection(connection)


async def start(shop: Shop, selection: Selection = DEAD, *, rate: float | None = None, again: bool = False) -> Job:
    async with operating(shop) as connection:
        return await jobs.start(connection, selection, WHO, rate=rate, again=again)


async def job_of(shop: Shop, job: Job) -> Job:
    async with operating(shop) as connection:
        found = await get(connection, job.id)
    assert found is not None
    return found


async def ended(shop: Shop, job: Job) -> Job:
    await shop.until("SELECT state = 'done' FROM receiver.replay WHERE id = $1", job.id)
    return await job_of(shop, job)


async def until_replayed(shop: Shop, job: Job, count: int) -> None:
    await shop.until("SELECT replayed >= $2 FROM receiver.replay WHERE id = $1", job.id, count)


@asynccontextmanager
async def stepping(shop: Shop) -> AsyncIterator[StepConnection]:
    engine = step_engine(shop.database_url)
    connection = StepConnection(engine, worker="w1")
    try:
        yield connection
    finally:
        await connection.close()
        await engine.dispose()


@pytest.mark.parametrize(
    ("rate", "most"), [(None, MOST), (0.01, 1), (1, 1), (10, 3), (400, 100), (4_000, MOST), (1e9, MOST)]
)
def test_portion_of_a_step(rate: float | None, most: int) -> None:
    assert portion(rate) == most


async def test_twenty_thousand_are_replayed_in_bounded_steps_without_a_scan(shop: Shop) -> None:
    await many(shop, 20_000)
    await shop.execute(  # between them what is not dead, which is not even looked at
        "INSERT INTO receiver.dispatch (event_id, handler, state) SELECT id, 'other', 'succeeded' FROM receiver.event"
    )
    await shop.execute("ANALYZE receiver.dispatch")
    job = await start(shop)
    assert (job.matched, job.estimated) == (20_000, False)
    used = "SELECT idx_scan >= 41 FROM pg_stat_user_indexes WHERE indexrelname = 'dispatch_dead_event_idx'"
    scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE relid = 'receiver.dispatch'::regclass"
    fetched = "SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relid = 'receiver.dispatch'::regclass"
    await shop.execute("SELECT pg_stat_force_next_flush()")
    before, fetched_before = await shop.value(scans), await shop.value(fetched)
    steps = 0
    async with stepping(shop) as connection:
        while (await connection.wait([])) is not None:
            async with connection.step([]) as step:
                assert step is not None
                stepped = await step.replay(700, 500)
                assert (stepped.looked_at, stepped.replayed) in {(500, 500), (0, 0)}
                await step.save(stepped)
                await shop.execute("SELECT pg_stat_force_next_flush()")
            steps += 1
    assert steps == 41
    assert await shop.value(ONCE) == 20_000
    await shop.until(used)
    assert await shop.value(scans) == before
    assert int(str(await shop.value(fetched))) - int(str(fetched_before)) < 5 * 20_000
    assert (await job_of(shop, job)).finished_at is not None


SELECTIONS: Final = [
    (Selection(state="dead"), {"plain", "other_handler", "other_reason", "other_source", "other_type", "old", "new"}),
    (Selection(state="dead", handler="other_handler"), {"other_handler"}),
    (Selection(state="dead", reason="lease_expired"), {"other_reason"}),
    (Selection(state="dead", source="stripe-eu"), {"other_source"}),
    (Selection(state="dead", type="refund.paid"), {"other_type"}),
    (Selection(state="dead", received_before=dt.datetime(2024, 1, 10, tzinfo=dt.UTC)), {"old"}),
    (Selection(state="dead", received_after=dt.datetime(2025, 1, 10, tzinfo=dt.UTC)), {"new"}),
    (
        Selection(
            state="dead",
            received_after=dt.datetime(2024, 1, 10, tzinfo=dt.UTC),
            received_before=dt.datetime(2025, 1, 10, tzinfo=dt.UTC),
        ),
        {"plain", "other_handler", "other_reason", "other_source", "other_type"},
    ),
    (
        Selection(
            state="dead",
            received_after=dt.datetime(2025, 1, 1, second=2, tzinfo=dt.UTC),
            received_before=dt.datetime(2025, 1, 1, second=4, tzinfo=dt.UTC),
        ),
        {"other_reason", "other_source"},
    ),
    (Selection(state="retrying"), {"retrying", "not_yet"}),
    (Selection(state="retrying", reason="no_order"), {"not_yet"}),
    (Selection(state="succeeded"), {"succeeded"}),
    (Selection(state="dead", handler="nobody"), set()),
]


@pytest.mark.parametrize(("selection", "expected"), SELECTIONS)
async def test_what_is_selected_is_what_is_counted_shown_and_replayed(
    shop: Shop, selection: Selection, expected: set[str]
) -> None:
    at = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    for n, (name, handler, source, kind, state, reason, year) in enumerate(
        [
            ("plain", "pay", "stripe", "charge.paid", "dead", "handler_raised", 2025),
            ("other_handler", "other_handler", "stripe", "charge.paid", "dead", "handler_raised", 2025),
            ("other_reason", "pay", "stripe", "charge.paid", "dead", "lease_expired", 2025),
            ("other_source", "pay", "stripe-eu", "charge.paid", "dead", "handler_raised", 2025),
            ("other_type", "pay", "stripe", "refund.paid", "dead", "handler_raised", 2025),
            ("old", "pay", "stripe", "charge.paid", "dead", "handler_raised", 2024),
            ("new", "pay", "stripe", "charge.paid", "dead", "handler_raised", 2026),
            ("retrying", "pay", "stripe", "charge.paid", "ready", "handler_raised", 2025),
            ("not_yet", "pay", "stripe", "charge.paid", "ready", "no_order", 2025),
            ("untried", "pay", "stripe", "charge.paid", "ready", None, 2025),
            ("succeeded", "pay", "stripe", "charge.paid", "succeeded", None, 2025),
            ("waiting", "pay", "stripe", "charge.paid", "waiting", None, 2025),
            ("leased", "pay", "stripe", "charge.paid", "leased", "handler_raised", 2025),
        ]
    ):
        when = at.replace(year=year) + dt.timedelta(seconds=n)
        await shop.execute(MANY, 1, when, handler, source, kind, state, reason)
        await shop.execute("UPDATE receiver.event SET external_id = $1 WHERE external_id = 'evt_1'", name)
    # `NotYet` takes its attempt back.
    await shop.execute(
        "UPDATE receiver.dispatch SET attempts = 0 WHERE state = 'ready' AND reason IS DISTINCT FROM 'handler_raised'"
    )
    async with operating(shop) as connection:
        found = await jobs.preview(connection, selection, lambda _: None)
        assert found.matched == len(found.sample) == len(expected)
        assert found.again == (selection.state == "succeeded")
    if expected:
        job = await start(shop, selection, again=True)
        async with stepping(shop) as steps:
            await take_a_step(steps)
        assert (await job_of(shop, job)).replayed == job.matched == len(expected)
    names = await shop.rows(
        "SELECT e.external_id FROM receiver.dispatch AS d JOIN receiver.event AS e ON e.id = d.event_id"
        " WHERE d.epoch = 1 AND d.trigger = 'manual'"
    )
    assert {name for (name,) in names} == expected
    assert await shop.value(UNTOUCHED) == 13 - len(expected)


async def test_what_takes_long_to_count_is_estimated(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await many(shop, 400)
    monkeypatch.setattr(jobs, "_COUNT_SECONDS", 0)
    monkeypatch.setattr(jobs, "_LOOK", 40)
    job = await start(shop)
    assert job.estimated
    assert 300 < job.matched < 500
    assert (await start(shop, Selection(state="dead", handler="nobody"))).matched == 0


async def test_a_worker_does_the_job_and_others_are_told(shop: Shop) -> None:
    await many(shop, 2_500, handler="pay")
    registry = Registry()

    @registry.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        assert not event.late
        await tx.execute(text("INSERT INTO effect VALUES (:id, 'pay', NULL)"), {"id": event.id})

    async with shop.working(registry, poll_seconds=600) as worker:
        job = await start(shop)
        done = await ended(shop, job)
        await shop.until_done()
    assert (done.replayed, done.skipped, done.created, done.worker) == (2_500, 0, 0, worker.name)
    assert await shop.rows("SELECT count(*), count(DISTINCT event_id) FROM effect") == [(2_500, 2_500)]


async def test_what_dies_again_meanwhile_is_not_taken_twice(shop: Shop) -> None:
    await many(shop, 300, handler="pay")
    registry = Registry()

    @registry.on("stripe")
    async def pay(_event: Event, _tx: AsyncSession) -> None:
        raise Dead("no_such_order")

    async with shop.working(registry):
        done = await ended(shop, await start(shop, rate=400))
        await shop.until_done()
    assert done.replayed == 300
    assert await shop.rows(
        "SELECT number, trigger, outcome, count(*) FROM receiver.every_attempt GROUP BY 1, 2, 3"
    ) == [(1, "manual", "dead", 300)]


async def test_what_arrives_later_is_not_in_it(shop: Shop) -> None:
    await many(shop, 3)
    job = await start(shop)
    await many(shop, 3, age=dt.timedelta())
    async with shop.working(Registry()):
        assert (await ended(shop, job)).replayed == 3


@pytest.mark.parametrize(
    ("selection", "handler"),
    [
        (DEAD, "lost"),
        (Selection(state="succeeded"), "lost"),
        (CREATES, "added"),
        (CREATES, None),
    ],
    ids=["dead", "succeeded", "dead of the handler", "not owed to the handler"],
)
async def test_nor_is_what_arrives_later_with_an_id_below_the_last(
    shop: Shop, selection: Selection, handler: str | None
) -> None:
    await many(shop, 10, handler=None if selection.creates else "lost", state=selection.state)
    job = await start(shop, selection, again=True)
    await shop.execute(LATE, handler, selection.state)
    registry = Registry()

    @registry.on("stripe")
    async def added(_event: Event, _tx: AsyncSession) -> None: ...

    async with shop.working(registry):
        done = await ended(shop, job)
    assert (done.replayed + done.created, done.skipped) == (job.matched, 0) == (10, 0)
    late = "SELECT d.state, d.epoch FROM receiver.dispatch AS d JOIN receiver.event AS e ON e.id = d.event_id"
    assert await shop.rows(f"{late} WHERE e.external_id = 'evt_late'") == ([(selection.state, 1)] if handler else [])


async def test_what_succeeds_later_is_not_run_again(shop: Shop) -> None:
    registry = Registry()
    bugs = [Dead("a bug")]

    @registry.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        if event.id == dead and bugs:
            raise bugs.pop()
        await tx.execute(text("INSERT INTO effect VALUES (:id, 'pay', NULL)"), {"id": event.id})

    dead, other = await shop.deliver(), await shop.deliver()
    async with shop.working(registry):
        await shop.until_done()
    job = await start(shop, Selection(state="succeeded"), again=True)
    async with operating(shop) as connection:
        await jobs.change(connection, str(job.id), "pause", WHO)
        await replay_event(connection, str(dead), WHO)
        async with shop.working(registry):
            await shop.until_done()
            await jobs.change(connection, str(job.id), "resume", WHO)
            done = await ended(shop, job)
            await shop.until_done()
    assert (job.matched, done.replayed, done.skipped) == (1, 1, 0)
    assert await shop.rows("SELECT event_id, count(*) FROM effect GROUP BY event_id ORDER BY count(*)") == [
        (dead, 1),
        (other, 2),
    ]


async def test_what_began_before_and_succeeds_later_is_not_run_again(shop: Shop) -> None:
    await many(shop, 3, state="succeeded")
    job = await start(shop, Selection(state="succeeded"), again=True)
    await shop.execute(
        "UPDATE receiver.dispatch SET worker = 'w', started_at = due_at, finished_at = clock_timestamp()"
        " WHERE event_id = (SELECT id FROM receiver.event ORDER BY id LIMIT 1)"
    )
    async with stepping(shop) as steps:
        assert (await take_a_step(steps)).replayed == 2
    assert (await job_of(shop, job)).skipped == 0
    assert await shop.value(UNTOUCHED) == 1


async def test_two_workers_share_a_job_and_nothing_is_done_twice(shop: Shop) -> None:
    await many(shop, 8_000)
    registry = Registry()

    @registry.on("stripe")
    async def lost(_event: Event, _tx: AsyncSession) -> None: ...

    async with shop.working(registry), shop.working(registry):
        done = await ended(shop, await start(shop))
        await shop.until_done()
    assert (done.replayed, done.looked_at) == (8_000, 8_000)
    assert await shop.rows("SELECT count(*), count(DISTINCT event_id) FROM receiver.every_attempt") == [(8_000, 8_000)]


async def test_a_handler_that_has_enough_to_do_is_not_given_more(shop: Shop) -> None:
    await many(shop, 5_000)
    registry = Registry()

    @registry.on("stripe")
    async def lost(_event: Event, _tx: AsyncSession) -> None: ...

    job = await start(shop)
    async with shop.working(Registry()), operating(shop) as connection:
        await shop.until("SELECT behind = 'lost' FROM receiver.replay")
        assert (await job_of(shop, job)).replayed == 2_000
        heard: list[str | None] = []
        looked = asyncio.Event()

        def hear(_job: Job, waits: str | None) -> None:
            heard.append(waits)
            looked.set()

        following = asyncio.create_task(jobs.follow(connection, await job_of(shop, job), hear))
        await looked.wait()
        async with shop.working(registry):
            await following
            await shop.until_done()
    assert heard[0] == "no live worker knows the handler lost; `receiver work` starts one"
    assert heard[-1] is None
    assert await shop.rows("SELECT replayed, behind FROM receiver.replay") == [(5_000, None)]


async def test_while_one_steps_the_others_leave_the_job_alone(shop: Shop) -> None:
    await many(shop, 1)
    await start(shop)
    async with stepping(shop) as ours, stepping(shop) as theirs:
        async with ours.step([]) as step:
            assert step is not None
            async with theirs.step([]) as other:
                assert other is None
        async with theirs.step([]) as other:
            assert other is not None


@pytest.mark.parametrize("failpoint", ["", "replay_before_commit"])
async def test_a_job_survives_its_worker(shop: Shop, failpoint: str) -> None:
    await many(shop, 1_900)
    job = await start(shop, rate=None if failpoint else 1_000)
    with shop.program("pay", failpoint) as process:
        if not failpoint:
            await until_replayed(shop, job, 700)
            process.send_signal(signal.SIGKILL)
        assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
    left = await job_of(shop, job)
    assert left.state == "running"
    assert left.replayed == await shop.value(ONCE)
    assert left.replayed < 1_900
    async with shop.working(Registry()):
        assert (await ended(shop, job)).replayed == 1_900
    assert await shop.value(ONCE) == 1_900


async def take_a_step(steps: StepConnection, meanwhile: Callable[[], Awaitable[None]] | None = None) -> Stepped:
    async with steps.step([]) as step:
        assert step is not None
        stepped = await step.replay(100, 100)
        await step.save(stepped)
        if meanwhile is not None:
            await meanwhile()
    return stepped


async def test_a_step_that_is_cut_was_not_taken(shop: Shop) -> None:
    await many(shop, 10)
    job = await start(shop)
    async with stepping(shop) as cut:
        with pytest.raises(StoreUnavailable):
            await take_a_step(cut, lambda: shop.execute(CUT))
        assert await shop.value(UNTOUCHED) == 10
        await take_a_step(cut)
    assert (await job_of(shop, job)).replayed == 10


BROKEN: Final = {
    "by what Python cannot do": "rate = 'Infinity'",
    "by a handler that has no name": """asked = asked || '{"creates": true}'""",
    "by what PostgreSQL cannot do": "looked_at = 9223372036854775807",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_a_job_whose_steps_fail_does_not_hold_up_the_others(shop: Shop, broken: str) -> None:
    await many(shop, 2_500)
    first = await start(shop, Selection(state="dead", type="charge.paid"))
    await shop.execute(f"UPDATE receiver.replay SET {broken}")
    second = await start(shop, Selection(state="dead", handler="lost"))
    registry = Registry()

    @registry.on("stripe")
    async def lost(_event: Event, _tx: AsyncSession) -> None: ...

    heard: list[str | None] = []
    async with shop.working(registry), operating(shop) as connection:
        assert (await ended(shop, second)).replayed == 2_500
        await shop.until("SELECT next_at > now() FROM receiver.replay WHERE id = $1", first.id)
        following = asyncio.create_task(
            jobs.follow(connection, await job_of(shop, first), lambda _job, waits: heard.append(waits))
        )
        async with operating(shop) as other:
            cancelled = await jobs.change(other, str(first.id), "cancel", WHO)
        await following
    assert heard[0] == "its last step failed; the log of the worker that took it says why"
    assert heard[-1] is None
    assert (cancelled.replayed, cancelled.stepped_at) == (0, None)


async def test_a_job_is_paused_resumed_and_cancelled_while_it_runs(shop: Shop) -> None:
    await many(shop, 5_000)
    job = await start(shop, rate=200)
    async with shop.working(Registry()), operating(shop) as connection:
        await until_replayed(shop, job, 50)
        paused = await jobs.change(connection, str(job.id), "pause", WHO)
        assert (paused.state, await shop.value(ONCE)) == ("paused", paused.replayed)
        async with stepping(shop) as steps:
            assert await steps.wait([]) is None
            await shop.until("SELECT next_at < now() FROM receiver.replay")
            async with steps.step([]) as step:
                assert step is None
        resumed = await jobs.change(connection, str(job.id), "resume", WHO)
        assert (resumed.state, resumed.replayed) == ("running", paused.replayed)
        await until_replayed(shop, job, paused.replayed + 50)
        cancelled = await jobs.change(connection, str(job.id), "cancel", WHO)
        assert cancelled.finished_at is not None
        assert await shop.value(ONCE) == cancelled.replayed
        assert cancelled.replayed < 5_000
        for change in ("pause", "resume"):
            with pytest.raises(ReplayOver):
                await jobs.change(connection, str(job.id), change, WHO)
        assert (await jobs.change(connection, str(job.id), "cancel", WHO)).state == "cancelled"
        with pytest.raises(ReplayUnknown):
            await jobs.change(connection, str(uuid.uuid4()), "pause", WHO)
    assert await shop.rows(
        "SELECT action, who, why FROM receiver.audit WHERE subject = $1 ORDER BY id", str(job.id)
    ) == [(action, "test", "because") for action in ("replay_start", "replay_pause", "replay_resume", "replay_cancel")]


async def test_a_rate_is_kept_over_steps_and_workers(shop: Shop) -> None:
    await many(shop, 90)
    job = await start(shop, rate=60)
    async with shop.working(Registry()):
        await until_replayed(shop, job, 20)
    async with shop.working(Registry()):
        done = await ended(shop, job)
    assert done.replayed == 90
    assert done.finished_at is not None
    # The last step is not waited for, and its portion is 15.
    assert (done.finished_at - done.created_at).total_seconds() >= (90 - 15) / 60


async def test_what_is_being_run_is_skipped(shop: Shop) -> None:
    event_id, failed = await shop.deliver(), await shop.deliver()
    await shop.execute("UPDATE receiver.dispatch SET attempts = 1, due_at = now() - interval '1 minute'")
    await shop.execute("UPDATE receiver.dispatch SET due_at = now() + interval '1 hour' WHERE event_id = $1", failed)
    job = await start(shop, Selection(state="retrying"))
    async with shop.engine() as engine, engine.connect() as claiming, stepping(shop) as steps:
        claim = await raw_connection(claiming)
        async with claim.transaction():  # a claim of another worker, not yet committed
            await claim.execute(CLAIM, event_id)
            stepped = await take_a_step(steps)
    assert (stepped.replayed, stepped.skipped) == (1, 1)
    assert await shop.rows("SELECT event_id, state, epoch, trigger FROM receiver.dispatch ORDER BY state") == [
        (event_id, "leased", 1, "scheduled"),
        (failed, "ready", 1, "manual"),
    ]
    assert (await job_of(shop, job)).skipped == 1


async def test_a_replay_while_its_handler_runs_has_one_effect(shop: Shop) -> None:
    event_id = await shop.deliver()
    registry = Registry()
    begun, go = asyncio.Event(), asyncio.Event()

    @registry.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        await tx.execute(text("INSERT INTO effect VALUES (:id, 'pay', NULL)"), {"id": event.id})
        begun.set()
        await go.wait()

    async with shop.working(registry), operating(shop) as connection:
        await begun.wait()
        with pytest.raises(NothingToReplay, match="pay is leased"):
            await replay_event(connection, str(event_id), WHO, again=True)
        await many(shop, 1)
        for state in ("dead", "succeeded", "retrying"):
            assert (await jobs.preview(connection, Selection(state=state, handler="pay"), lambda _: None)).matched == 0
        go.set()
        await shop.until_done()
        with pytest.raises(AgainNeeded, match="pay: what succeeded would run again"):
            await replay_event(connection, str(event_id), WHO)
        assert await shop.effects() == 1
        assert (await replay_event(connection, str(event_id), WHO, again=True)).handlers == ("pay",)
        await shop.until_done()
    assert await shop.effects() == 2
    assert await shop.rows("SELECT action, details::text FROM receiver.audit") == [
        ("replay_event", '{"again": true, "handlers": ["pay"]}')
    ]


async def test_again_must_be_said(shop: Shop) -> None:
    await many(shop, 2, state="succeeded")
    with pytest.raises(AgainNeeded):
        await start(shop, Selection(state="succeeded"))
    assert await shop.value("SELECT count(*) FROM receiver.replay") == 0


@pytest.mark.parametrize("rate", [math.inf, math.nan, -1.0, 0.0, 1e-300])
async def test_a_rate_that_no_replay_can_go_at_is_refused(shop: Shop, rate: float) -> None:
    await many(shop, 2)
    with pytest.raises(RateWrong):
        await start(shop, rate=rate)
    assert await shop.value("SELECT count(*) FROM receiver.replay") == 0


async def test_a_job_of_a_newer_version_is_left_to_it(shop: Shop) -> None:
    await many(shop, 5)
    newer, own = await start(shop), await start(shop)
    await shop.execute("""UPDATE receiver.replay SET asked = asked || '{"colour": "red"}' WHERE id = $1""", newer.id)
    async with shop.working(Registry()):
        assert (await ended(shop, own)).replayed == 5
    assert await shop.value("SELECT looked_at FROM receiver.replay WHERE id = $1", newer.id) == 0


async def test_what_was_run_and_then_deleted_is_not_missing(shop: Shop) -> None:
    await many(shop, 2, handler=None, age=dt.timedelta())
    await shop.execute(
        "INSERT INTO receiver.attempt (event_id, handler, epoch, number, trigger, worker, started_at, outcome)"
        " SELECT id, 'added', 1, 1, 'scheduled', 'w', now(), 'succeeded' FROM receiver.event LIMIT 1"
    )
    registry = Registry()

    @registry.on("stripe")
    async def added(_event: Event, _tx: AsyncSession) -> None: ...

    async with shop.working(registry):
        done = await ended(shop, await start(shop, CREATES))
    assert (done.created, done.skipped) == (1, 1)


async def test_a_handler_that_was_added_later_is_owed_what_it_wants(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = dt.datetime.now(dt.UTC) - CREATES.received_after if CREATES.received_after else DAY
    await many(shop, 40, handler=None, age=wanted - DAY)
    await many(shop, 7, handler=None, kind="refund.paid", age=wanted - 2 * DAY)
    await many(shop, 5, handler=None, source="alipay", age=wanted - 3 * DAY)
    await many(shop, 3, handler="added", age=wanted - 4 * DAY)
    await many(shop, 2, handler="added", state="succeeded", reason=None, age=wanted - 5 * DAY)
    await many(shop, 9, handler=None, age=wanted + 2 * DAY)
    await many(shop, 4, handler=None, age=wanted + DAY / 2)
    async with operating(shop) as connection:
        found = await jobs.preview(connection, CREATES, lambda _: None)
    assert (found.matched, found.missing) == (3, 52)
    job = await start(shop, CREATES)
    assert (job.matched, job.estimated) == (55, True)
    registry = Registry()

    @registry.on("stripe", "charge.*")
    async def added(event: Event, tx: AsyncSession) -> None:
        await tx.execute(text("INSERT INTO effect VALUES (:id, 'added', NULL)"), {"id": event.id})

    async with shop.working(Registry()):  # it does not know the handler
        await shop.until("SELECT next_at < now() - interval '1.2 seconds' FROM receiver.replay")
        assert (await job_of(shop, job)).stepped_at is None
        assert "replay_failed" not in capsys.readouterr().out
        async with shop.working(registry):
            done = await ended(shop, job)
            await shop.until_done()
    assert (done.created, done.replayed, done.skipped) == (40, 3, 0)
    assert await shop.rows("SELECT count(*), count(DISTINCT event_id) FROM effect") == [(43, 43)]
    assert await shop.rows("SELECT trigger, count(*) FROM receiver.every_attempt GROUP BY trigger") == [("manual", 43)]


def by_last_digit(event: Event) -> str | None:
    assert isinstance(event.data, str)
    return None if event.external_id == "evt_5" else f"{event.data}-{event.external_id[-1]}"


@pytest.mark.parametrize("lane", ["entity", by_last_digit])
async def test_what_is_created_stands_in_the_lane_that_ingress_would_have_given(
    shop: Shop, lane: Literal["entity"] | LaneFunction
) -> None:
    await many(shop, 100, handler=None)
    registry = Registry()
    order: dict[str, list[int]] = {}
    late: list[str] = []

    @registry.on("stripe", lane=lane)
    async def added(event: Event, _tx: AsyncSession) -> None:
        order.setdefault(event.entity_id or "", []).append(int(event.external_id.removeprefix("evt_")))
        if event.late:
            late.append(event.external_id)

    async with operating(shop) as connection:
        (event,) = await shop.rows("SELECT id, occurred_at FROM receiver.event WHERE external_id = 'evt_93'")
        given = Event(
            id=uuid.uuid4(),
            source="stripe",
            provider="stripe",
            external_id="evt_93",
            type=None,
            entity_id="order_3",
            livemode=None,
            occurred_at=None,
            received_at=dt.datetime.now(dt.UTC),
            headers={},
            body=b'{"id": 1}',
            handler="added",
            attempt=0,
            reader=bytes.decode,
        )
        number = lane_number("added", given, lane)
        await connection.execute(  # the newest but one of a lane was handled already
            "INSERT INTO receiver.lane (lane, handler, handled_at, event_id) VALUES ($1, 'added', $3, $2)",
            number,
            event[0],
            event[1],
        )
    async with shop.working(registry):
        done = await ended(shop, await start(shop, CREATES, rate=500))
        await shop.until_done()
    assert done.created == 100
    assert len(late) == 9
    assert all(name.endswith("3") for name in late)
    unordered = [] if lane == "entity" else [5]
    for numbers in order.values():
        kept = [n for n in numbers if n not in unordered]
        assert kept == sorted(kept)
    assert await shop.value("SELECT lane FROM receiver.dispatch WHERE event_id = $1", event[0]) == number
    without = "SELECT count(*) FROM receiver.dispatch WHERE lane IS NULL AND lane_at IS NULL"
    assert await shop.value(without) == len(unordered)
