"""The schedule of retries, and what a handler may ask for."""

import datetime as dt
import math
from typing import Any

import pytest

from receiver.handlers import Dead, NotYet, Retry, RetryPolicy

DAY = 86_400


@pytest.mark.parametrize(
    ("attempt", "ceiling"),
    [(1, 1), (2, 3), (3, 9), (4, 27), (9, 6_561), (10, 19_683), (11, 21_600), (19, 21_600), (10**9, 21_600)],
)
def test_default_schedule(attempt: int, ceiling: float) -> None:
    policy = RetryPolicy()
    assert policy.delay(attempt, 1.0) == ceiling
    assert policy.delay(attempt, 0.5) == ceiling / 2
    assert policy.delay(attempt, 0.0) == 0


def test_default_schedule_outlasts_a_day_on_average() -> None:
    policy = RetryPolicy()
    average = sum(policy.delay(attempt, 0.5) for attempt in range(1, policy.attempts))
    assert DAY < average < 2 * DAY


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (RetryPolicy(first=1, factor=2, cap=5, jitter="none"), [1, 2, 4, 5, 5]),
        (RetryPolicy(first=3, factor=1, cap=3, jitter="none"), [3, 3, 3, 3, 3]),
        (RetryPolicy(first=2, factor=10, cap=2, jitter="none"), [2, 2, 2, 2, 2]),
        (RetryPolicy(first=1.5, factor=1.5, cap=5, jitter="none"), [1.5, 2.25, 3.375, 5, 5]),
    ],
)
def test_without_jitter_the_draw_does_not_matter(policy: RetryPolicy, delays: list[float]) -> None:
    assert [policy.delay(attempt, 0.1) for attempt in range(1, 6)] == delays


@pytest.mark.parametrize("factor", [1e10, 10**10])
def test_a_power_beyond_every_float_may_still_be_a_time(factor: float) -> None:
    policy = RetryPolicy(first=1e-308, factor=factor, cap=1e7, attempts=1_000, jitter="none")
    assert [policy.delay(attempt, 1.0) for attempt in (32, 33, 1_000)] == [pytest.approx(100), 1e7, 1e7]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("first", 0), ("first", -1), ("first", math.inf), ("first", math.nan),
        ("factor", 0.9), ("factor", math.inf), ("cap", 0.5), ("cap", math.nan), ("cap", 1e300),
        ("attempts", 0), ("attempts", 1_001), ("jitter", "half"),
    ],
)  # fmt: skip
def test_impossible_policies_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize(("after", "seconds"), [(None, None), (0, 0), (1.5, 1.5), (dt.timedelta(minutes=2), 120)])
def test_retry_after(after: float | dt.timedelta | None, seconds: float | None) -> None:
    assert Retry(after=after).after == seconds


@pytest.mark.parametrize("after", [-1, math.nan, math.inf, 1e300, dt.timedelta(seconds=-1), dt.timedelta.max])
def test_retry_after_no_length_of_time(after: float | dt.timedelta) -> None:
    with pytest.raises(ValueError, match="after"):
        Retry(after=after)


def test_dead_needs_a_reason() -> None:
    assert Dead("card is gone").reason == "card is gone"


@pytest.mark.parametrize("name", ["first", "factor", "cap", "attempts", "patience"])
@pytest.mark.parametrize("value", ["3", None, True, 10**400])
def test_what_is_no_number_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: "):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("value", [1.0, 2.5, math.inf, True, "3"])
def test_attempts_are_counted(value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^attempts: must be a whole number, an int, not {value!r}$"):
        RetryPolicy(attempts=value)


@pytest.mark.parametrize("after", ["x", True, 10**400])
def test_after_must_be_a_number(after: Any) -> None:
    for raised in (Retry, NotYet):
        with pytest.raises(ValueError, match=r"^after: "):
            raised(after=after)
