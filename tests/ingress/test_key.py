"""The key of the dedup table: never changed, never read two ways, in the order of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.inbox.key import dedup_key

texts = st.text(min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("source", "external_id", "key_time", "expected"),
    [
        ("stripe", "evt_1", 0, "00000000c138b3d09cd850eca55a95e620f14df4"),
        ("stripe", "evt_1", 1_760_000_000, "000775b8c138b3d09cd850eca55a95e620f14df4"),
        ("alipay-cn", "evt_ü", 7_199, "000000018d66582ed050fb91da2af0482f915130"),
    ],
)
def test_keys_are_those_of_earlier_releases(source: str, external_id: str, key_time: int, expected: str) -> None:
    """A key that is made another way is a duplicate that nobody notices."""
    assert dedup_key(source, external_id, key_time).hex() == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a", "1:b"), ("a1", ":b")),
        (("s", "2:ab"), ("s2", "ab")),
        (("s", "e"), ("S", "e")),
        (("s", "e"), ("s", "e ")),
        (("s", "\u00fc"), ("s", "u\u0308")),
        (("e", "s"), ("s", "e")),
    ],
)
def test_what_differs_has_different_keys(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert dedup_key(*one, 0) != dedup_key(*other, 0)


@given(st.tuples(texts, texts), st.tuples(texts, texts))
def test_parts_cannot_be_read_two_ways(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (dedup_key(*one, 0) == dedup_key(*other, 0)) is (one == other)


def test_the_hour_stands_in_front() -> None:
    keys = [dedup_key("s", "e", hour * 3600) for hour in (0, 1, 255, 256, 488_888)]
    assert keys == sorted(keys)
    assert {len(key) for key in keys} == {20}
    assert len({key[4:] for key in keys}) == 1
    assert dedup_key("s", "e", 3_599) == dedup_key("s", "e", 0)


@pytest.mark.parametrize("key_time", [-1, -(2**63), 2**32 * 3600, 2**80])
def test_times_beyond_four_bytes_are_held_to_them(key_time: int) -> None:
    hour = 0 if key_time < 0 else 2**32 - 1
    assert int.from_bytes(dedup_key("s", "e", key_time)[:4], "big") == hour
