"""Group commit: callbacks share a commit, and nothing else. One bad row, one late one, one full queue hurt nobody."""

import asyncio
import random
from collections.abc import Mapping

import pytest

from receiver.errors import Overloaded, ReceiverError, StoreRefused
from receiver.inbox import Outcome
from receiver.inbox.batch import Batcher, Waiting
from tests.ingress.accounts import Account
from tests.ingress.conftest import Start
from tests.ingress.inboxes import BLOCKED, Result, arrival, locked, submitted
from tests.ingress.ledger import Ledger, until
from tests.ingress.serving import Serving

POISON: Mapping[str, dict[str, object]] = {
    "NUL in a text": {"external_id": "a\0b"},
    "a lone surrogate": {"external_id": "\ud800"},
    "headers that no jsonb holds": {"headers": {"user-agent": "a\0b"}},
    "a key that no index holds": {"key": random.Random(1).randbytes(10_000)},
    "no source": {"source": None},
}


@pytest.mark.parametrize("case", POISON)
async def test_a_poisoned_row_fails_alone(ledger: Ledger, start: Start, case: str) -> None:
    async with start() as served:
        assert served.inbox is not None
        async with locked(ledger.database_url):
            first = submitted(served.inbox, [arrival("first")])
            await ledger.until(BLOCKED)
            good = [submitted(served.inbox, [arrival(f"good{number}", b"f" * 16, "h")]) for number in range(4)]
            bad = submitted(served.inbox, [arrival("beside", b"f" * 16), arrival("bad", b"f" * 16, **POISON[case])])
            more = [submitted(served.inbox, [arrival(f"more{number}")]) for number in range(4)]
        assert await asyncio.gather(first, *good, *more) == [Outcome.STORED] * 9
        assert isinstance(await bad, StoreRefused)
    expected = ["first", *(f"{word}{number}" for word in ("good", "more") for number in range(4))]
    assert await ledger.stored() == dict.fromkeys(expected, 1), "nor is the neighbour in its own callback stored"


async def test_one_id_twice_in_one_batch(ledger: Ledger, start: Start) -> None:
    async with start() as served:
        assert served.inbox is not None
        async with locked(ledger.database_url):
            first = submitted(served.inbox, [arrival("first")])
            await ledger.until(BLOCKED)
            same = [submitted(served.inbox, [arrival("same", b"f" * 16, "h")]) for _ in range(5)]
            other = submitted(served.inbox, [arrival("same", b"g" * 16, "h")])
        assert await first is Outcome.STORED
        assert await asyncio.gather(*same) == [Outcome.STORED] + [Outcome.DUPLICATE] * 4
        assert await other is Outcome.CONFLICT
    assert await ledger.counts() == {"dedup_key": 2, "event": 2, "dispatch": 1, "quarantine": 1}
    assert await ledger.value("SELECT duplicates FROM receiver.dedup_key ORDER BY 1 DESC LIMIT 1") == 4


async def test_a_full_queue_says_when_to_call_again(
    accounts: Mapping[str, Account], ledger: Ledger, start: Start
) -> None:
    stripe = accounts["stripe"]
    async with start(queue_limit=3) as served:
        async with locked(ledger.database_url):
            waiting = [asyncio.create_task(served.post(stripe.sent()))]
            await ledger.until(BLOCKED)
            waiting += [asyncio.create_task(served.post(stripe.sent())) for _ in range(3)]
            assert await until(lambda: _depth(served, 3))
            refused = await served.post(stripe.sent())
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
            assert b'"reason":"overloaded"' in refused.body
            assert served.counted("receiver_failed_total", source="stripe", reason="overloaded") == 1
        assert [(await task).status for task in waiting] == [200] * 4
        assert (await served.post(stripe.sent())).status == 200, "and when it has emptied all is well again"
    assert (await ledger.counts())["event"] == 5


async def _depth(served: Serving, expected: int) -> bool:
    return served.counted("receiver_queue_depth") == expected


async def test_nobody_waits_past_the_deadline(accounts: Mapping[str, Account], ledger: Ledger, start: Start) -> None:
    """Also one who arrives when the flush that stands in the way has been in flight for a while."""
    stripe, loop = accounts["stripe"], asyncio.get_running_loop()
    async with start(answer_deadline=1.0) as served:

        async def timed() -> tuple[int, float]:
            began = loop.time()
            return (await served.post(stripe.sent())).status, loop.time() - began

        async with locked(ledger.database_url):
            first = asyncio.create_task(timed())
            await ledger.until(BLOCKED)
            others = [asyncio.create_task(timed()) for _ in range(3)]
            refused = [await task for task in (first, *others)]
        assert {status for status, _ in refused} == {503}
        assert max(seconds for _, seconds in refused) < 1.9
        assert (await served.post(stripe.sent())).status == 200
    assert (await ledger.counts())["event"] >= 1


async def test_a_known_duplicate_does_not_wait_for_postgres(
    accounts: Mapping[str, Account], ledger: Ledger, start: Start
) -> None:
    stripe, standard = accounts["stripe"], accounts["standardwebhooks"]
    payload = stripe.sample()
    async with start() as served:
        assert (await served.post(stripe.signed(payload))).status == 200

        async def marked() -> bool:
            return await ledger.redis_keys() == 1

        assert await until(marked)
        async with locked(ledger.database_url):
            stuck = asyncio.create_task(served.post(standard.sent()))
            await ledger.until(BLOCKED)
            assert (await served.post(stripe.signed(payload))).status == 200, "answered from its mark"
            other = {**payload, "type": "payment_intent.canceled"}
            unlike = asyncio.create_task(served.post(stripe.signed(other)))
            fresh = asyncio.create_task(served.post(stripe.sent()))
            await asyncio.wait([unlike, fresh], timeout=0.3)
            assert not unlike.done(), "a mark of another body says nothing"
            assert not fresh.done()
            assert not stuck.done()
        assert [(await task).status for task in (stuck, unlike, fresh)] == [204, 200, 200]
    assert await ledger.counts() == {"dedup_key": 3, "event": 3, "dispatch": 5, "quarantine": 1}


def waiting_batcher(limit: int = 10) -> tuple[Batcher, list[list[Waiting]], asyncio.Event]:
    """A batcher whose flushes are seen, and held until the event is set."""
    seen: list[list[Waiting]] = []
    go = asyncio.Event()

    async def flush(batch: list[Waiting], _seconds: float) -> None:
        seen.append(batch)
        await go.wait()
        for waiting in batch:
            waiting.settle(Outcome.STORED)

    return Batcher(flush, limit=limit), seen, go


async def test_a_late_comer_is_refused_in_time_too() -> None:
    """The look for those whose time is up must go on while a flush is stuck."""
    batcher, seen, go = waiting_batcher()
    heard: list[Result] = []
    batcher.add([arrival("first")], 4, heard.append)

    async def in_flight() -> bool:
        return bool(seen)

    assert await until(in_flight)
    await asyncio.sleep(0.25)  # longer than the sweep's own pace: it has found nobody waiting
    batcher.add([arrival("late")], 0.2, heard.append)

    async def refused() -> bool:
        return len(heard) == 1

    assert await until(refused, 1.0)
    assert isinstance(heard[0], Overloaded)
    go.set()
    await batcher.close()


async def test_a_flush_that_fails_unforeseen_is_not_the_last() -> None:
    """A fault of ours costs its own batch an answer of 503, not the service its life."""
    heard: list[Result] = []
    flushes = 0

    async def flush(batch: list[Waiting], _seconds: float) -> None:
        nonlocal flushes
        flushes += 1
        if flushes == 1:
            raise LookupError("nobody thought of this")
        for waiting in batch:
            waiting.settle(Outcome.STORED)

    batcher = Batcher(flush, limit=10)
    batcher.add([arrival("first")], 4, heard.append)

    async def first() -> bool:
        return len(heard) == 1

    assert await until(first)
    assert isinstance(heard[0], ReceiverError)
    batcher.add([arrival("second")], 4, heard.append)

    async def second() -> bool:
        return len(heard) == 2

    assert await until(second, 1.0), "the batcher is dead"
    assert heard[1] is Outcome.STORED
    await batcher.close()


async def test_closing_flushes_what_waits() -> None:
    batcher, seen, go = waiting_batcher()
    heard: list[Result] = []
    for number in range(5):
        batcher.add([arrival(str(number))], 4, heard.append)
    closing = asyncio.create_task(batcher.close())

    async def in_flight() -> bool:
        return bool(seen)

    assert await until(in_flight)
    with pytest.raises(Overloaded):
        batcher.add([arrival("too late")], 4, heard.append)
    go.set()
    await closing
    assert heard == [Outcome.STORED] * 5
