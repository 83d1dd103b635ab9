"""The page of the conformance vectors names each exception with its reason, and none more."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.sources.vector_exceptions import CONSTRUCTED, EXCEPTIONS, UNDECIDED, Exempt

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "vectors.md"
HEADS = {"vector", "---"}
TABLES: Mapping[str, Mapping[str, Exempt] | Mapping[str, str]] = {
    "Where the verdict is not ours": EXCEPTIONS,
    "Where no verdict is forced": UNDECIDED,
    "Where the evidence is weak": CONSTRUCTED,
}


def kept(exempt: Exempt) -> str:
    """What the page says of what is kept."""
    if exempt.stored:
        return "an event"
    return f"aside, `{exempt.aside}`" if exempt.aside else "nothing"


def row(vector: str, entry: Exempt | str) -> tuple[str, ...]:
    if isinstance(entry, str):
        return f"`{vector}`", entry
    return f"`{vector}`", str(entry.status), kept(entry), entry.why


def section(title: str) -> str:
    return PAGE.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("title", TABLES)
def test_page_and_table_are_the_same(title: str) -> None:
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    told = [found for found in cells if found[0] not in HEADS]
    assert told == [row(vector, entry) for vector, entry in TABLES[title].items()]


def test_there_is_no_other_table() -> None:
    assert PAGE.read_text().count("| --- |") == sum(section(title).count("| --- |") for title in TABLES) > 0
