"""No callback takes a time that grows faster than its size, for any provider and wherever it grows."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from receiver.errors import VerificationError
from receiver.events import Callback
from tests.fuzz.grown import grown
from tests.fuzz.rounds import NOW
from tests.providers.accounts import IDS, Account, account

SIZE = 8_000
TIMES = 8
MOST = 3 * TIMES
"""The longer one may take so many times as long: a loop in a loop takes 64 times."""
ROUNDS = 25
"""Before a measurement counts as slow; the fastest of each counts, so that one quiet moment is enough."""
Work = Callable[[], object]


def ratio(short: Work, long: Work) -> float:
    """How many times as long the longer one takes; measured again while it seems too long."""
    best_short = best_long = float("inf")
    for _ in range(ROUNDS):
        best_short = min(best_short, seconds(short), seconds(short))
        best_long = min(best_long, seconds(long))
        if best_long <= MOST * best_short:
            break
    return best_long / best_short


def seconds(work: Work) -> float:
    """How long it takes once."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def work(one: Account, callback: Callback) -> None:
    """All that is done with a callback that is not trusted yet, and then what a handler's `event.data` takes."""
    with suppress(VerificationError):
        one.source.verify(callback, NOW)
        with suppress(ValueError):
            one.source.content(callback.body)


@pytest.mark.parametrize("id_", IDS)
def test_time_grows_with_the_size_and_no_faster(id_: str) -> None:
    one = account(id_)
    slow = {}
    for case, grow in grown(one):
        short, long = grow(one, SIZE), grow(one, TIMES * SIZE)
        if short is not None and long is not None:
            found = ratio(partial(work, one, short), partial(work, one, long))
            if found > MOST:
                slow[case] = found
    assert not slow


def test_a_loop_in_a_loop_would_be_seen() -> None:
    def loop(parts: list[bytes]) -> None:
        assert all(part in parts for part in parts)

    few = [b"%d" % number for number in range(150)]
    many = [b"%d" % number for number in range(150 * TIMES)]
    assert ratio(partial(loop, few), partial(loop, many)) > MOST
    assert ratio(partial(sum, range(5_000)), partial(sum, range(5_000 * TIMES))) < MOST
