"""Where a source has a confirmation, it is the first step of each run: asked once, outside of any transaction."""

import asyncio
import functools
import math
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from receiver.dispatch.circuit import WINDOW
from receiver.errors import HandlerError
from receiver.events import Event
from receiver.handlers import Confirmation, Confirmed, Dead, NotConfirmed, NotYet, Registry, Retry, RetryPolicy
from receiver.storage.raw import RawTransaction
from receiver.storage.replays import replay_event
from tests.dispatch.conftest import Shop, until

EFFECT = text("INSERT INTO effect VALUES (:id, :handler, :note)")
SOON = RetryPolicy(first=0.02, factor=1, cap=0.02)
SAID = {"status": "paid", "amount": Decimal("12.50"), "of": 2**80, "odd": "\0é"}


async def _no_argument() -> Confirmed:
    return Confirmed()


class Provider:
    """Says what it is told to say, and remembers who asked.

    Args:
        answers: one for each question; the last one for ever.
    """

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.asked: list[Event] = []
        self.now = 0
        self.most = 0
        """Questions at once."""
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, event: Event) -> Confirmed:
        self.asked.append(event)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.open.wait()
        finally:
            self.now -= 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return cast("Confirmed", answer)  # or what a merchant returns by mistake


def confirming(
    function: Callable[[Event], Awaitable[Confirmed]], *, timeout: float = 10, policy: RetryPolicy = SOON
) -> dict[str, Confirmation]:
    return {"stripe": Confirmation(function=function, timeout=timeout, policy=policy)}


def shop_with(*names: str, **options: Any) -> tuple[Registry, list[Event]]:
    """Handlers that write an effect, and what they were given."""
    registry, seen = Registry(retry=RetryPolicy(first=0.02, factor=1, cap=0.02, attempts=3)), []

    async def handle(event: Event, tx: AsyncSession) -> None:
        seen.append(event)
        await tx.execute(EFFECT, {"id": event.id, "handler": event.handler, "note": None})

    async def handle_raw(event: Event, tx: RawTransaction) -> None:
        seen.append(event)
        await tx.execute("INSERT INTO effect VALUES ($1, $2, NULL)", event.id, event.handler)

    for name in names or ("pay",):
        registry.on("stripe", name=name, **options)(handle_raw if options.get("raw") else handle)
    return registry, seen


async def confirmations(shop: Shop) -> list[tuple[object, ...]]:
    return await shop.rows("SELECT outcome, asked, reason, once FROM receiver.confirmation ORDER BY at")


@pytest.mark.parametrize("options", [{}, {"raw": True}, {"batch": 10}], ids=["session", "raw", "batch"])
async def test_handlers_are_told_what_was_confirmed(shop: Shop, options: dict[str, object]) -> None:
    provider = Provider(Confirmed(data=SAID))
    registry, seen = shop_with(**options)
    events = {await shop.deliver() for _ in range(5)}
    async with shop.working(registry, confirmations=confirming(provider)):
        await shop.ask_oracle()
    assert [event.confirmed for event in seen] == [SAID] * 5
    assert {event.id for event in provider.asked} == events
    assert len(provider.asked) == 5
    assert {(event.handler, event.attempt) for event in provider.asked} == {(":confirm", 1)}
    assert shop.runs.questions == [("stripe", "confirmed")] * 5
    assert await shop.effects() == 5


async def test_other_sources_are_not_confirmed(shop: Shop) -> None:
    provider = Provider(NotConfirmed("as ever"))
    registry, seen = shop_with()
    await shop.deliver(source="stripe-eu")
    async with shop.working(registry, confirmations=confirming(provider)):
        await shop.ask_oracle()
    assert [event.confirmed for event in seen] == [None]
    assert provider.asked == []
    assert await confirmations(shop) == []


async def test_many_handlers_in_many_workers_ask_once(shop: Shop) -> None:
    provider = Provider(Confirmed(data="so"))
    provider.open.clear()
    names = tuple(f"pay_{number}" for number in range(6))
    registry, seen = shop_with(*names)
    await shop.deliver(*names)
    async with (
        shop.working(registry, confirmations=confirming(provider), concurrency=3),
        shop.working(registry, confirmations=confirming(provider), concurrency=3),
    ):
        await shop.until("SELECT count(*) = 6 FROM receiver.dispatch WHERE state = 'leased'")
        await until(lambda: provider.now == 1)
        provider.open.set()
        await shop.ask_oracle()
    assert len(provider.asked) == 1
    assert [event.confirmed for event in seen] == ["so"] * 6


async def test_retries_and_replays_do_not_ask_again(shop: Shop) -> None:
    provider = Provider(Confirmed(data="so", once="paid"))
    registry, tries = Registry(retry=SOON), []

    @registry.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        tries.append(event.confirmed)
        await tx.execute(EFFECT, {"id": event.id, "handler": "pay", "note": None})
        if len(tries) == 1:
            raise RuntimeError("once")

    event_id = await shop.deliver()
    async with shop.working(registry, confirmations=confirming(provider)):
        await shop.until_done()
        async with shop.transaction() as connection:
            await replay_event(connection, event_id, None, again=True)
        await until(lambda: len(tries) == 3)
        await shop.until_done()
    assert tries == ["so"] * 3
    assert len(provider.asked) == 1
    assert await shop.effects() == 2


@pytest.mark.parametrize("error", [NotConfirmed("no such payment"), Dead("no such payment")])
async def test_what_is_not_so_runs_nothing(shop: Shop, error: Exception) -> None:
    provider = Provider(error)
    registry, seen = shop_with("pay", "mail", lane="entity", on_dead="block")
    await shop.deliver("pay", "mail")
    async with shop.working(registry, confirmations=confirming(provider)):
        await shop.ask_oracle(dead=True)
    assert seen == []
    assert len(provider.asked) == 1
    for handler in ("pay", "mail"):
        assert (await shop.dispatch(handler))[::2] == ("dead", "not_confirmed")
    told = await shop.rows("SELECT DISTINCT outcome, reason, error ~ 'no such payment' FROM receiver.every_attempt")
    assert told == [("dead", "not_confirmed", True)]
    assert await confirmations(shop) == [("refused", 1, "no such payment", None)]
    assert await shop.value("SELECT bool_or(blocks) FROM receiver.dispatch") is False
    assert shop.runs.questions == [("stripe", "not_confirmed")]


async def test_a_replay_of_what_was_refused_asks_again(shop: Shop) -> None:
    provider = Provider(NotConfirmed("wrong account"), NotYet("soon"), Confirmed())
    registry, seen = shop_with()
    event_id = await shop.deliver()
    async with shop.working(registry, confirmations=confirming(provider)):
        await shop.until("SELECT state = 'dead' FROM receiver.dispatch")
        async with shop.transaction() as connection:
            await replay_event(connection, event_id, None, again=False)
        await shop.until("SELECT state = 'succeeded' FROM receiver.dispatch")
    assert [event.confirmed for event in seen] == [None]
    assert [event.attempt for event in provider.asked] == [1, 1, 2]


@pytest.mark.parametrize(
    ("error", "reason", "outcome"),
    [
        (NotYet("not settled", after=0), "not settled", "not_yet"),
        (Retry(after=0, reason="later"), "later", "not_yet"),
        (ConnectionError("refused"), "confirmation_failed", "failed"),
        (asyncio.CancelledError(), "confirmation_timeout", "failed"),
    ],
)
async def test_without_an_answer_it_is_asked_again_and_no_attempt_is_used_up(
    shop: Shop, error: BaseException, reason: str, outcome: str
) -> None:
    provider = Provider(*[error] * 5, Confirmed(data="so"))
    registry, seen = shop_with()
    await shop.deliver()
    async with shop.working(registry, confirmations=confirming(provider)):
        await shop.ask_oracle()
    assert [(event.attempt, event.confirmed) for event in seen] == [(1, "so")]
    assert await shop.attempts() == [(1, "retry", reason)] * 5 + [(1, "succeeded", None)]
    assert shop.runs.questions == [("stripe", outcome)] * 5 + [("stripe", "confirmed")]
    assert [event.attempt for event in provider.asked] == [1, 2, 3, 4, 5, 6]
    assert await shop.dispatch() == ("succeeded", 1, None)


async def test_after_its_patience_it_is_dead(shop: Shop) -> None:
    provider = Provider(NotYet("never", after=0))
    registry, seen = shop_with(lane="entity", on_dead="block")
    await shop.deliver()
    await shop.execute("UPDATE receiver.dispatch SET lane = 1, lane_at = now()")
    async with shop.working(registry, confirmations=confirming(provider, policy=replace(SOON, patience=0.3))):
        await shop.until("SELECT state = 'dead' AND blocks FROM receiver.dispatch")
    assert seen == []
    assert (await shop.dispatch())[2] == "confirmation_overdue"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "returned NoneType"),
        (True, "returned bool"),
        (Confirmed(data=object()), "data cannot be stored"),
        (Confirmed(data=math.nan), "NaN"),
        (Confirmed(data="x" * 1_048_577), "1,048,576"),
    ],
)
async def test_what_is_no_confirmation_confirms_nothing(shop: Shop, answer: object, told: str) -> None:
    provider = Provider(answer)
    registry, seen = shop_with()
    await shop.deliver()
    slow = RetryPolicy(first=3600, cap=3600, jitter="none")
    async with shop.working(registry, confirmations=confirming(provider, policy=slow)):
        await shop.until("SELECT state = 'ready' AND reason IS NOT NULL FROM receiver.dispatch")
    assert seen == []
    assert await shop.dispatch() == ("ready", 0, "confirmation_failed")
    assert told in str(await shop.value("SELECT error FROM receiver.every_attempt"))


async def test_one_that_hangs_is_ended_and_one_that_goes_on_is_left(shop: Shop) -> None:
    asked = 0

    async def stubborn(event: Event) -> Confirmed:
        nonlocal asked
        asked += 1
        while asked == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        return Confirmed(data=event.attempt)

    registry, seen = shop_with()
    await shop.deliver()
    async with shop.working(registry, confirmations=confirming(stubborn, timeout=0.05), concurrency=1):
        await shop.ask_oracle()
    assert [event.confirmed for event in seen] == [2]
    assert await shop.attempts() == [(1, "retry", "confirmation_timeout"), (1, "succeeded", None)]


async def test_it_outlives_its_lease_and_holds_no_transaction(shop: Shop) -> None:
    provider = Provider(Confirmed())
    provider.open.clear()
    registry, _ = shop_with()
    await shop.deliver()
    async with (
        shop.working(registry, confirmations=confirming(provider), lease_seconds=1),
        shop.working(registry, confirmations=confirming(provider), lease_seconds=1),
    ):
        await until(lambda: provider.now == 1)
        await shop.execute("SELECT pg_sleep(2.5)")
        assert await shop.value("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == 0
        assert await shop.value("SELECT epoch FROM receiver.dispatch") == 1
        provider.open.set()
        await shop.ask_oracle()
    assert len(provider.asked) == 1
    assert await shop.attempts() == [(1, "succeeded", None)]


async def test_a_worker_that_stops_lets_others_ask_at_once(shop: Shop) -> None:
    provider = Provider(Confirmed())
    provider.open.clear()
    registry, seen = shop_with()
    await shop.deliver()
    async with shop.working(registry, confirmations=confirming(provider), grace_seconds=0.1):
        await until(lambda: provider.now == 1)
    assert await shop.dispatch() == ("ready", 0, "worker_stopped")
    provider.open.set()
    async with shop.working(registry, confirmations=confirming(provider)):
        await shop.until("SELECT state = 'succeeded' FROM receiver.dispatch", seconds=4)
    assert len(seen) == 1


async def test_a_worker_that_stops_lets_it_finish(shop: Shop) -> None:
    provider = Provider(Confirmed())
    provider.open.clear()
    registry, seen = shop_with()
    await shop.deliver()
    async with shop.working(registry, confirmations=confirming(provider)):
        await until(lambda: provider.now == 1)
        asyncio.get_running_loop().call_later(0.3, provider.open.set)
    assert len(seen) == 1
    await shop.ask_oracle()


async def test_while_the_provider_is_down_only_probes_ask(shop: Shop) -> None:
    provider = Provider(*[ConnectionError("down")] * WINDOW, Confirmed())
    registry, seen = shop_with()
    for _ in range(WINDOW):
        await shop.deliver()

    looked = asyncio.Event()

    async def ask(event: Event) -> Confirmed:
        if len(provider.asked) >= WINDOW:
            await looked.wait()  # a probe is answered when others have been seen to wait
        return await provider(event)

    async with shop.working(registry, confirmations=confirming(ask)):
        await shop.until("SELECT count(*) > 0 FROM receiver.every_attempt WHERE reason = 'confirmation_paused'")
        assert shop.runs.open["confirm stripe"]
        assert len(provider.asked) == WINDOW
        looked.set()
        await shop.ask_oracle()
    assert shop.runs.open == {"pay": False, "confirm stripe": False}
    assert len(seen) == WINDOW
    assert all(number == 1 for number, _, _ in await shop.attempts())


async def test_a_suspect_is_counted_before_it_is_asked_for(shop: Shop) -> None:
    provider = Provider(NotYet("soon", after=0), Confirmed())
    registry, seen = shop_with()
    await shop.deliver()
    await shop.execute(
        "UPDATE receiver.dispatch SET state = 'leased', attempts = 2, epoch = 2, worker = 'w', leased_at = now()"
    )
    counts: list[object] = []

    connection = await asyncpg.connect(shop.database_url)

    async def ask(event: Event) -> Confirmed:
        counts.append(await connection.fetchval("SELECT attempts FROM receiver.dispatch"))
        return await provider(event)

    async with shop.working(registry, confirmations=confirming(ask)):
        await shop.ask_oracle()
    await connection.close()
    assert counts == [3, 3]
    assert [event.attempt for event in seen] == [3]


def same(*, once: str | None = "paid") -> Provider:
    return Provider(Confirmed(data="so", once=once))


async def deliver_about(shop: Shop, entity: str | None, count: int = 1, source: str = "stripe") -> list[uuid.UUID]:
    events = [await shop.deliver(source=source) for _ in range(count)]
    await shop.execute("UPDATE receiver.event SET entity_id = $1 WHERE id = ANY($2)", entity, events)
    return events


@pytest.mark.parametrize("options", [{}, {"raw": True}, {"batch": 10}], ids=["session", "raw", "batch"])
async def test_what_cannot_be_told_apart_is_handled_once(shop: Shop, options: dict[str, object]) -> None:
    registry, seen = shop_with(**options)
    await deliver_about(shop, "tr_1", 4)
    async with shop.working(registry, confirmations=confirming(same())):
        await shop.until_done()
    assert len(seen) == 1
    rows = await shop.rows(
        "SELECT reason, count(*) FROM receiver.dispatch WHERE state = 'succeeded' GROUP BY 1 ORDER BY 1"
    )
    assert rows == [("already_done", 3), (None, 1)]
    assert await shop.effects() == 1
    assert sorted(shop.runs.heard).count(("pay", "skipped")) == 3
    assert await shop.value("SELECT count(*) FROM receiver.every_attempt WHERE reason = 'already_done'") == 3


@pytest.mark.parametrize(
    ("entities", "onces", "handled"),
    [
        (("tr_1", "tr_1"), ("paid", "refunded"), 2),
        (("tr_1", "tr_2"), ("paid", "paid"), 2),
        ((None, None), ("paid", "paid"), 2),
        (("tr_1", "tr_1"), (None, None), 2),
        (("tr_1", "tr_1"), ("paid", None), 2),
        (("tr_1", "tr_1"), ("paid", "paid"), 1),
    ],
)
async def test_what_can_be_told_apart_is_not_the_same(
    shop: Shop, entities: tuple[str | None, ...], onces: tuple[str | None, ...], handled: int
) -> None:
    provider = Provider(*(Confirmed(once=once) for once in onces))
    registry, seen = shop_with()
    for entity in entities:
        await deliver_about(shop, entity)
    async with shop.working(registry, confirmations=confirming(provider)):
        await shop.until_done()
    assert len(seen) == handled


async def test_each_handler_and_each_source_has_its_own(shop: Shop) -> None:
    registry, seen = shop_with("pay", "mail")
    await deliver_about(shop, "tr_1")
    await shop.execute("INSERT INTO receiver.dispatch (event_id, handler) SELECT id, 'mail' FROM receiver.event")
    await deliver_about(shop, "tr_1", source="stripe-eu")
    both = {**confirming(same()), "stripe-eu": confirming(same())["stripe"]}
    async with shop.working(registry, confirmations=both):
        await shop.until_done()
    assert sorted((event.source, event.handler) for event in seen) == [
        ("stripe", "mail"),
        ("stripe", "pay"),
        ("stripe-eu", "pay"),
    ]


async def test_a_run_that_fails_leaves_its_turn_to_others(shop: Shop) -> None:
    registry, tries = Registry(retry=replace(SOON, attempts=1)), []

    @registry.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        tries.append(event.id)
        await tx.execute(EFFECT, {"id": event.id, "handler": "pay", "note": None})
        if len(tries) == 1:
            raise RuntimeError("once")

    await deliver_about(shop, "tr_1", 2)
    async with shop.working(registry, confirmations=confirming(same()), concurrency=1):
        await shop.until_done()
    assert len(set(tries)) == 2
    assert await shop.effects() == 1


async def test_nobody_waits_for_a_run_that_is_doing_the_same(shop: Shop) -> None:
    registry, doing = Registry(), asyncio.Event()

    @registry.on("stripe")
    async def pay(event: Event, tx: AsyncSession) -> None:
        await tx.execute(EFFECT, {"id": event.id, "handler": "pay", "note": None})
        await doing.wait()

    await deliver_about(shop, "tr_1", 2)
    async with shop.working(registry, confirmations=confirming(same())):
        await shop.until("SELECT count(*) > 0 FROM receiver.every_attempt WHERE reason = 'once_busy'")
        doing.set()
        await shop.until_done()
    assert await shop.effects() == 1
    assert await shop.value("SELECT sum(attempts) FROM receiver.dispatch") == 2


async def test_in_a_lane_what_was_done_makes_room_for_the_next(shop: Shop) -> None:
    registry, seen = shop_with(lane="entity")
    await deliver_about(shop, "tr_1", 3)
    await shop.execute("UPDATE receiver.dispatch SET lane = 7, lane_at = now()")
    provider = Provider(Confirmed(once="paid"), Confirmed(once="paid"), Confirmed(once="refunded"))
    async with shop.working(registry, confirmations=confirming(provider)):
        await shop.until_done()
    assert len(seen) == 2
    assert await shop.value("SELECT count(*) FROM receiver.dispatch WHERE reason = 'already_done'") == 1
    assert provider.most == 1


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"function": lambda _: None}, "must be `async def"),
        ({"function": None}, "must be `async def"),
        ({"function": functools.partial(lambda _: None)}, "must be `async def"),
        ({"function": _no_argument}, "exactly one argument"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": math.inf}, "timeout"),
        ({"timeout": "1"}, "timeout"),
        ({"policy": None}, "retry"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_written(named: dict[str, Any], told: str) -> None:
    with pytest.raises(HandlerError, match=told):
        Confirmation(**{"function": Provider(1), **named})


def test_what_is_called_in_the_end_is_what_counts() -> None:
    provider = Provider(1)
    vars(provider)["func"] = None
    for function in (provider, functools.partial(provider), functools.partial(Provider(1))):
        assert Confirmation(function=function).function is function


@pytest.mark.parametrize("once", ["", "x" * 201, "\0", "\ud800", 1])
def test_what_cannot_be_kept_is_no_once(once: str) -> None:
    with pytest.raises(ValueError, match="once"):
        Confirmed(once=once)
