"""Whatever dies between the provider's answer and the handler's commit: at most one question more, and one effect."""

import signal

import pytest

from tests.dispatch.conftest import Shop


@pytest.mark.parametrize(
    ("failpoint", "asked"),
    [
        ("worker_asked", 2),  # the answer was heard, and not stored
        ("worker_confirmed", 1),
        ("worker_before_commit", 1),
        ("worker_after_commit", 1),
    ],
)
async def test_a_worker_that_dies_costs_one_question_at_most(shop: Shop, failpoint: str, asked: int) -> None:
    await shop.deliver("told")
    with shop.program("told", failpoint, confirms="first", lease_seconds=1) as dying:
        assert dying.wait(60) == -signal.SIGKILL
    with shop.program("told", confirms="second", lease_seconds=1):
        await shop.ask_oracle()
    assert await shop.value("SELECT count(*) FROM outside") == asked
    assert await shop.rows("SELECT note FROM effect") == [("said by second" if asked == 2 else "said by first",)]


async def test_what_a_frozen_worker_heard_counts_no_more(shop: Shop) -> None:
    await shop.deliver("told")
    with shop.program("told", confirms="freezing", lease_seconds=1) as frozen:
        await shop.until("SELECT count(*) = 1 FROM outside")
        with shop.program("told", confirms="second", lease_seconds=1):
            await shop.ask_oracle()
        frozen.send_signal(signal.SIGCONT)
        frozen.terminate()
        assert frozen.wait(60) == 0
    assert await shop.value("SELECT count(DISTINCT key) FROM outside") == 1
    assert await shop.value("SELECT count(*) FROM outside") == 2
    assert await shop.value("SELECT data #>> '{}' FROM receiver.confirmation") == "said by second"
    assert await shop.rows("SELECT note FROM effect") == [("said by second",)]
