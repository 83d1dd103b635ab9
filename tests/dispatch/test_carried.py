"""A commit that is left to the first statement of the next run: what becomes of either when the other goes wrong."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import RawTransaction
from receiver.dispatch import call
from receiver.errors import HandlerError
from receiver.events import Event
from receiver.handlers import Registry, RetryPolicy
from tests.dispatch.conftest import Shop, open_shop
from tests.dispatch.test_chained import END_WAITING, WAITING
from tests.dispatch.test_leases import LET_IT_RUN_OUT

EFFECT = "INSERT INTO effect VALUES ($1, $2, $3)"
ONCE = RetryPolicy(attempts=1)
REFUSED = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.note = 'refused') EXECUTE FUNCTION refuse();
"""
CANCEL_WAITING = END_WAITING.replace("terminate", "cancel")
PLACE = """
UPDATE receiver.dispatch SET due_at = now() - make_interval(secs => $2), lane = $3, lane_at = now() WHERE event_id = $1
"""
LEARNING = 20
"""Runs from which a slot has learned that the handler begins with a statement, and that many may be leased ahead."""
Lent: TypeAlias = RawTransaction | AsyncSession
Odd: TypeAlias = Callable[[Event, Lent], Awaitable[None]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, a slot takes these handlers for quick ones."""
    monkeypatch.setattr(call, "_QUICK", 60.0)


async def ask(tx: Lent, query: str, *values: object) -> None:
    if isinstance(tx, AsyncSession):
        await (await tx.connection()).exec_driver_sql(query, values)
    else:
        await tx.execute(query, *values)


async def write(event: Event, tx: Lent, note: str = "") -> None:
    await ask(tx, EFFECT, event.id, event.handler, note)


async def is_refused(event: Event, tx: Lent) -> None:
    """Postgres will not commit it."""
    await write(event, tx, "refused")


class Row:
    """Runs one behind the other in one slot: the first ones teach it, then come those that a test is about."""

    def __init__(
        self,
        shop: Shop,
        *odd: Odd,
        timeout: float | None = None,
        retry: RetryPolicy = ONCE,
        lanes: bool = False,
        raw: bool = True,
    ) -> None:
        self._shop = shop
        self._odd = odd
        self._lanes = lanes
        self.events: list[uuid.UUID] = []
        self.called: list[int] = []
        """Which of `odd` was called, in order."""
        self.registry = Registry(retry=retry)
        if raw:
            self.registry.on("stripe", name="pay", raw=True, timeout=timeout)(self._pay)
        else:
            self.registry.on("stripe", name="pay", timeout=timeout)(self._pay_by_session)

    async def run(self) -> None:
        async with self.running():
            pass

    @asynccontextmanager
    async def running(self, *, finish: bool = True, grace: float = 60) -> AsyncIterator[None]:
        async with self._shop.working(self.registry, concurrency=1, grace_seconds=grace):
            for _ in range(LEARNING):
                await self._shop.deliver()
            await self._shop.until_done()
            async with self._shop.transaction():  # they are seen together
                self.events = [await self._shop.deliver() for _ in self._odd]
                for number, event_id in enumerate(self.events):
                    await self._shop.execute(
                        PLACE,
                        event_id,
                        1 - number / 100,
                        number if self._lanes else None,
                    )
            await self._shop.until("SELECT count(*) = $1 FROM receiver.dispatch", LEARNING + len(self._odd))
            yield
            if finish:
                await self._shop.until_done()

    async def came_to(self) -> list[tuple[object, ...]]:
        """State and reason of each of `odd`, and how many effects it has."""
        rows = await self._shop.rows(
            "SELECT event_id, state, reason, (SELECT count(*) FROM effect e WHERE e.event_id = d.event_id)"
            " FROM receiver.dispatch d"
        )
        found = {row[0]: row[1:] for row in rows}
        return [found[event_id] for event_id in self.events]

    async def _pay(self, event: Event, tx: RawTransaction) -> None:
        await self._run(event, tx)

    async def _pay_by_session(self, event: Event, tx: AsyncSession) -> None:
        await self._run(event, tx)

    async def _run(self, event: Event, tx: Lent) -> None:
        if event.id not in self.events:
            await write(event, tx)
            return
        number = self.events.index(event.id)
        self.called.append(number)
        await self._odd[number](event, tx)


def below(tx: Lent) -> RawTransaction:
    """Of handlers that are for raw ones alone."""
    assert isinstance(tx, RawTransaction)
    return tx


by_raw_and_session = pytest.mark.parametrize("raw", [True, False], ids=["raw", "session"])
SUCCEEDED = ("succeeded", None, 1)
DEAD = ("dead", "attempts_exhausted", 0)


async def gathers(event: Event, tx: Lent) -> None:
    async def nothing() -> None: ...

    await asyncio.gather(write(event, tx), nothing())


async def writes_though_it_failed(event: Event, tx: Lent) -> None:
    with suppress(Exception):
        await asyncio.sleep(0)
    await write(event, tx)


async def writes_by_session_though_it_failed(event: Event, tx: Lent) -> None:
    with suppress(Exception):
        await asyncio.sleep(0)
    session = tx if isinstance(tx, AsyncSession) else tx.session()
    await session.execute(text("INSERT INTO effect VALUES (:id, 'pay')"), {"id": event.id})


async def writes_twice_whatever_happens(event: Event, tx: Lent) -> None:
    with suppress(Exception):
        await ask(tx, "SELECT 1")
    await write(event, tx)


async def nothing_at_first(event: Event, tx: Lent) -> None:
    await asyncio.sleep(0)
    await write(event, tx)


@pytest.mark.parametrize(
    "second",
    [
        write,
        gathers,
        writes_though_it_failed,
        writes_by_session_though_it_failed,
        writes_twice_whatever_happens,
        nothing_at_first,
    ],
)
@by_raw_and_session
async def test_behind_a_commit_that_is_refused(shop: Shop, second: Odd, raw: bool) -> None:
    await shop.execute(REFUSED)
    row = Row(shop, is_refused, second, raw=raw)
    await row.run()
    assert await row.came_to() == [DEAD, SUCCEEDED]
    assert row.called == [0, 1, 1]


KEPT: list[RawTransaction] = []


async def begins_with_a_session(event: Event, tx: Lent) -> None:
    KEPT.append(below(tx))
    await below(tx).session().execute(text("INSERT INTO effect VALUES (:id, 'pay')"), {"id": event.id})


async def test_who_begins_with_a_session(shop: Shop) -> None:
    """Its first statement brings the commit as any other; what it got is of no use when the run is over."""
    KEPT.clear()
    row = Row(shop, write, begins_with_a_session, write)
    await row.run()
    assert await row.came_to() == [SUCCEEDED] * 3
    assert row.called == [0, 1, 2]
    for tx in KEPT:
        with pytest.raises(HandlerError, match="the run is over"):
            await tx.execute("SELECT 1")


async def test_who_waits_for_its_turn_behind_tasks_of_the_one_before(shop: Shop) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def leaves_tasks(event: Event, tx: Lent) -> None:
        await write(event, tx)

        async def late() -> None:
            await below(tx).execute("SELECT pg_sleep(0.1)")

        async def later() -> None:
            await asyncio.sleep(0.05)
            await late()

        tasks.extend(asyncio.create_task(call()) for call in (late, later, later))
        await asyncio.sleep(0)

    row = Row(shop, leaves_tasks, write, timeout=3)
    await row.run()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await row.came_to() == [SUCCEEDED, SUCCEEDED]


@by_raw_and_session
async def test_who_has_cancelled_its_task_pays_for_it_alone(shop: Shop, raw: bool) -> None:
    async def cancels_and_returns(event: Event, tx: Lent) -> None:
        await write(event, tx)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    row = Row(shop, cancels_and_returns, write, raw=raw)
    await row.run()
    assert await row.came_to() == [SUCCEEDED, SUCCEEDED]


LOCK = 4711
WAIT = f"""
CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock({LOCK}); RETURN NEW;
END $$;
"""
WAITS = f"""
{WAIT}
CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.note = 'waits') EXECUTE FUNCTION waits();
"""


async def waits_at_its_commit(event: Event, tx: Lent) -> None:
    await write(event, tx, "waits")


async def is_impatient(event: Event, tx: Lent) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await ask(tx, "SELECT $1::int", 1)
    await write(event, tx)


async def is_late(event: Event, tx: Lent) -> None:
    await write(event, tx)


@pytest.mark.parametrize("second", [is_impatient, is_late])
@by_raw_and_session
async def test_a_commit_that_waits_is_not_charged_for_those_who_do_not(
    shop: Shop, second: Odd, raw: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.dispatch.call.WATCHED", 0.1)
    await shop.execute(WAITS)
    await shop.execute(f"SELECT pg_advisory_lock({LOCK})")
    row = Row(shop, waits_at_its_commit, second, timeout=0.5 if second is is_late else None, raw=raw)
    async with row.running():
        await shop.until("SELECT count(*) = $1 FROM effect WHERE note = ''", LEARNING + 1)
        await shop.execute(f"SELECT pg_advisory_unlock({LOCK})")
    assert await row.came_to() == [SUCCEEDED, SUCCEEDED]
    assert row.called == [0, 1, 1, 0]


@by_raw_and_session
async def test_a_commit_is_not_cut_short_with_what_the_next_one_waits_for(shop: Shop, raw: bool) -> None:
    called = asyncio.Event()

    async def waits_elsewhere(event: Event, tx: Lent) -> None:
        called.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.sleep(60)
        await write(event, tx)

    await shop.execute(WAITS)
    await shop.execute(f"SELECT pg_advisory_lock({LOCK})")
    row = Row(shop, waits_at_its_commit, waits_elsewhere, raw=raw)
    async with row.running():
        await called.wait()
        await shop.execute(f"SELECT pg_advisory_unlock({LOCK})")
    assert await row.came_to() == [SUCCEEDED, SUCCEEDED]
    assert row.called == [0, 1]


async def cancels_its_task(event: Event, tx: Lent) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await write(event, tx)


@by_raw_and_session
async def test_a_commit_that_waits_is_not_charged_for_who_cancels_its_task(shop: Shop, raw: bool) -> None:
    await shop.execute(WAITS)
    await shop.execute(f"SELECT pg_advisory_lock({LOCK})")
    row = Row(shop, waits_at_its_commit, cancels_its_task, raw=raw)
    async with row.running():
        await shop.until("SELECT count(*) = 1 FROM receiver.dispatch WHERE state = 'dead'")
        await shop.execute(f"SELECT pg_advisory_unlock({LOCK})")
    assert await row.came_to() == [SUCCEEDED, DEAD]


async def ran_though_taken_over(shop: Shop, second: Odd, *, raw: bool) -> Row:
    """What came of two runs, of which the second was somebody else's for a moment when the first had not ended."""
    async with open_shop(shop.database_url, shop.redis_url) as same, same.leasing(worker="w2") as other:
        await other.take(1)  # connects

        async def is_taken_from_behind(event: Event, tx: Lent) -> None:
            await write(event, tx)
            await same.execute(f"{LET_IT_RUN_OUT} WHERE event_id = $1", row.events[1])
            assert [lease.event_id for lease in await other.take(1)] == [row.events[1]]
            await same.execute(f"{LET_IT_RUN_OUT} WHERE event_id = $1", row.events[1])

        row = Row(shop, is_taken_from_behind, second, retry=RetryPolicy(first=0.01), raw=raw)
        await row.run()
    return row


@by_raw_and_session
async def test_who_follows_was_taken_over(shop: Shop, raw: bool) -> None:
    """Its first statement went with the commit; it does not count, and the commit does."""
    row = await ran_though_taken_over(shop, write, raw=raw)
    assert await row.came_to() == [SUCCEEDED] * 2
    assert shop.runs.heard.count(("pay", "lost")) == 1
    assert row.called == [0, 1, 1]


async def waits_for_a_row(event: Event, tx: Lent) -> None:
    await ask(tx, "UPDATE stock SET count = $1", 1)
    await write(event, tx)


HOLDING = "BEGIN; UPDATE stock SET count = 2"


@pytest.mark.parametrize("end", ["SELECT true", END_WAITING, CANCEL_WAITING])
@by_raw_and_session
async def test_while_its_first_statement_waits(shop: Shop, end: str, raw: bool) -> None:
    """The commit before it is done, and seen; then the row comes free, the session ends, or the statement."""
    row = Row(shop, write, waits_for_a_row, retry=RetryPolicy(first=0.01), raw=raw)
    async with open_shop(shop.database_url, shop.redis_url) as holding:
        await holding.execute(HOLDING)
        async with row.running():
            await shop.until(WAITING)
            assert await shop.value("SELECT count(*) FROM effect WHERE event_id = $1", row.events[0]) == 1
            await shop.execute(end)
            if end != "SELECT true":
                await shop.until("SELECT count(*) = 1 FROM receiver.attempt")
            await holding.execute("ROLLBACK")
    assert await row.came_to() == [SUCCEEDED, SUCCEEDED]
    assert await shop.rows("SELECT DISTINCT event_id FROM receiver.attempt") == (
        [] if end == "SELECT true" else [(row.events[1],)]
    )
    assert shop.runs.heard.count(("pay", "succeeded")) == LEARNING + 2


@pytest.mark.parametrize("grace", [0.0, 60.0])
@by_raw_and_session
async def test_stopped_while_its_first_statement_waits(shop: Shop, grace: float, raw: bool) -> None:
    row = Row(shop, write, waits_for_a_row, raw=raw)
    async with open_shop(shop.database_url, shop.redis_url) as holding:
        await holding.execute(HOLDING)
        async with row.running(finish=False, grace=grace):
            await shop.until(WAITING)
            if grace:
                asyncio.get_running_loop().call_later(0.1, asyncio.ensure_future, holding.execute("ROLLBACK"))
        if not grace:
            await holding.execute("ROLLBACK")
    stopped = ("ready", "worker_stopped", 0)
    assert await row.came_to() == [SUCCEEDED, SUCCEEDED if grace else stopped]
    assert shop.runs.heard.count(("pay", "succeeded")) == LEARNING + (2 if grace else 1)


@by_raw_and_session
async def test_in_lanes(shop: Shop, raw: bool) -> None:
    """To leave one is carried too, and goes wrong with the commit."""
    await shop.execute(REFUSED)
    row = Row(shop, write, is_refused, write, write, lanes=True, raw=raw)
    await row.run()
    assert await row.came_to() == [SUCCEEDED, DEAD, SUCCEEDED, SUCCEEDED]
    assert row.called == [0, 1, 2, 2, 3]


LEFT: list[asyncio.Task[object]] = []


async def leaves_a_statement(_event: Event, tx: AsyncSession) -> None:
    LEFT.append(asyncio.create_task(tx.execute(text("SELECT pg_sleep(0.2)"))))
    await asyncio.sleep(0.01)  # it was sent


async def test_behind_one_that_leaves_a_statement_of_its_session(shop: Shop) -> None:
    """Its commit is not left to another, whose first statement would find the connection busy with that one."""
    LEFT.clear()
    row = Row(shop, write, write)
    row.registry.on("stripe", name="leave", retry=ONCE)(leaves_a_statement)
    async with row.running():
        async with shop.transaction():
            for handler, seconds in (("leave", 2), ("pay", 1)):
                await shop.execute(PLACE, await shop.deliver(handler), seconds, None)
        await shop.until_done()
    await asyncio.gather(*LEFT, return_exceptions=True)
    assert await shop.dispatch("leave") == ("dead", 1, "attempts_exhausted")
    assert await shop.rows("SELECT handler, outcome FROM receiver.attempt") == [("leave", "dead")]
    assert await shop.effects() == LEARNING + 3


async def gives_up_a_statement(event: Event, tx: Lent) -> None:
    await write(event, tx)
    await ask(tx, "SELECT $1::int", 1)  # it is prepared now
    given_up = asyncio.create_task(ask(tx, "SELECT $1::int", 1))
    await asyncio.sleep(0)  # it was sent, and is not answered
    given_up.cancel()


async def goes_on_though_one_took_too_long(event: Event, tx: Lent) -> None:
    await write(event, tx)
    with suppress(TimeoutError):
        await below(tx).execute("SELECT pg_sleep(60)", timeout=0.05)


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("first", [gives_up_a_statement, goes_on_though_one_took_too_long])
async def test_behind_one_that_gives_up_a_statement(shop: Shop, first: Odd, follows: bool) -> None:
    """Its commit waits until that is cancelled, or was in vain; what answers it is not the answer to the commit."""
    row = Row(shop, *(first, write) if follows else (first,))
    async with row.running():
        await shop.until("SELECT NOT EXISTS (SELECT FROM receiver.dispatch WHERE state = 'leased')", seconds=4)
    outcome, *others = await row.came_to()
    # The request to cancel may come when the statement is done, or, if that is quick, hit what the commit does.
    assert outcome == DEAD or (first is gives_up_a_statement and outcome == SUCCEEDED)
    assert others == [SUCCEEDED] * follows
    if first is goes_on_though_one_took_too_long:
        error = await shop.value("SELECT error FROM receiver.attempt")
        assert str(error).startswith("receiver.errors.TransactionAborted")


async def asks_for_long(event: Event, tx: Lent) -> None:
    await asyncio.sleep(0)  # somebody begins to send the commit meanwhile, and waits for his turn
    await ask(tx, "SELECT pg_sleep($1)", 1.5)
    await write(event, tx)


async def leaves_what_asks_for_long(_event: Event, tx: Lent) -> None:
    LEFT.append(asyncio.create_task(ask(tx, "SELECT pg_sleep($1)", 60)))
    await asyncio.sleep(0.01)


@pytest.mark.parametrize(("second", "outcome"), [(asks_for_long, SUCCEEDED), (leaves_what_asks_for_long, DEAD)])
@by_raw_and_session
async def test_only_what_was_left_may_not_take_long(
    shop: Shop, second: Odd, outcome: tuple[object, ...], raw: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.storage.connection._COMMIT_SECONDS", 0.3)
    LEFT.clear()
    row = Row(shop, write, second, write, raw=raw)
    async with row.running():
        await shop.until("SELECT NOT EXISTS (SELECT FROM receiver.dispatch WHERE state = 'leased')", seconds=20)
    await asyncio.gather(*LEFT, return_exceptions=True)
    assert await row.came_to() == [SUCCEEDED, outcome, SUCCEEDED]
