"""The page of states shows the table of transitions as it is."""

from receiver.storage.states import State
from scripts.states import PAGE, written_into


def test_page_is_what_make_states_writes() -> None:
    page = PAGE.read_text()
    assert written_into(page) == page


def test_each_state_is_explained() -> None:
    for state in State:
        assert f"\n| `{state}` |" in PAGE.read_text()
