"""Ids are made of times, and times reach further than ids do."""

import datetime as dt
from typing import Final

import pytest

from receiver.storage.partitions import first_id

DAY: Final = dt.timedelta(days=1)
MILLISECOND: Final = dt.timedelta(milliseconds=1)
EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
LEAST: Final = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    ("moment", "slack", "expected"),
    [
        (EPOCH, dt.timedelta(), LEAST),
        (EPOCH + 17 * MILLISECOND, dt.timedelta(), "00000000-0011-0000-0000-000000000000"),
        (EPOCH + 17 * MILLISECOND, -MILLISECOND, "00000000-0010-0000-0000-000000000000"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.timedelta(), "019b76da-a800-0000-0000-000000000000"),
        (EPOCH - MILLISECOND, dt.timedelta(), LEAST),
        (dt.datetime(1960, 1, 1, tzinfo=dt.UTC), -DAY, LEAST),
        (dt.datetime.min.replace(tzinfo=dt.UTC), -DAY, LEAST),
        (dt.datetime.max.replace(tzinfo=dt.UTC), DAY, "e677d746-37ff-0000-0000-000000000000"),
    ],
)
def test_the_first_id_of_a_moment(moment: dt.datetime, slack: dt.timedelta, expected: str) -> None:
    assert first_id(moment, slack) == expected
