"""The table of official SDKs names each provider, and says of each SDK what the tests do with it."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from receiver.sources import PROVIDERS

ROOT = Path(__file__).resolve().parents[2]
ORACLES = ROOT / "tests" / "sources" / "oracles"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One provider."""

    name: str
    sdks: list[tuple[str, str]]
    """Their names and versions."""
    files: list[str]
    differs: bool


def rows() -> list[Row]:
    table = (ROOT / "docs" / "official-sdks.md").read_text(encoding="utf-8")
    found = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| [")]
    return [
        Row(
            name=Path(re.findall(r"\((.*?)\)", provider)[0]).stem,
            sdks=re.findall(r"`(\S+)` (\d[\w.]*)", sdk),
            files=re.findall(r"\(\.\./tests/sources/oracles/(.*?)\)", tests),
            differs=differences != "none",
        )
        for provider, sdk, tests, differences in found
    ]


ROWS = {row.name: row for row in rows()}
CHECKED = [row for row in ROWS.values() if row.files]


def test_each_provider_is_named_once() -> None:
    assert [row.name for row in rows()] == list(PROVIDERS)


def test_each_file_of_an_oracle_is_named_once_and_is_there() -> None:
    named = [file for row in CHECKED for file in row.files]
    assert sorted(named) == sorted(path.name for path in ORACLES.glob("test_*.py"))


@pytest.mark.parametrize("row", CHECKED, ids=lambda row: row.name)
def test_what_is_said_to_be_checked(row: Row) -> None:
    """By the SDKs in the versions that are installed, with the differences that the tests list."""
    text = "".join((ORACLES / file).read_text(encoding="utf-8") for file in row.files)
    assert row.sdks
    assert [(sdk, version(sdk)) for sdk, _ in row.sdks] == row.sdks
    assert row.differs == bool(re.search(r"\b(a|the) difference\b", text, re.IGNORECASE))


def test_what_is_checked_is_named_in_the_extra_of_the_tests() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [sdk for row in CHECKED for sdk, _ in row.sdks if f'"{sdk}>=' not in text] == []
