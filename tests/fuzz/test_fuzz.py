"""Whatever arrives at any provider: facts that can be stored, or the one verification error. `make fuzz` does more."""

import pytest

from tests.fuzz.rounds import TRIES, all_keep, garbled_ones, odd_ones
from tests.providers.accounts import IDS, account

EXAMPLES = 15
EVERY = 11
"""One odd body in so many; no number of ways divides it, so that each way is tried, though not in each member."""


@pytest.mark.parametrize("id_", IDS)
@pytest.mark.parametrize("what", TRIES)
def test_there_is_one_error(what: str, id_: str) -> None:
    TRIES[what](account(id_), EXAMPLES, None)


@pytest.mark.parametrize("id_", IDS)
def test_odd_members_under_a_good_signature(id_: str) -> None:
    all_keep(account(id_), odd_ones(account(id_), EVERY))


@pytest.mark.parametrize("id_", IDS)
def test_each_header_garbled(id_: str) -> None:
    all_keep(account(id_), garbled_ones(account(id_)))
