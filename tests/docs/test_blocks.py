"""Every command, program and settings file in the pages does what the pages say; see `conftest.py` for the marks."""

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Those of single providers show settings alone: see test_providers.py.
PAGES = sorted(
    page for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if "providers" not in page.parent.parts
)
NATS = "nats://127.0.0.1:4222"
"""As it is written in the pages; a server is started for those that name it."""
LANGUAGES = {"python", "bash", "toml", "dotenv", "text", "json", "nginx", "yaml", "sql", "http", "mermaid"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_do_what_the_page_says(page: Path, request: pytest.FixtureRequest, parts: Any) -> None:
    found = parts(page)
    assert {block.language for block in found} <= LANGUAGES
    if not any(block.language in {"python", "bash", "toml"} for block in found):
        return
    workshop = request.getfixturevalue("workshop")
    if NATS in page.read_text():
        workshop.places[NATS] = request.getfixturevalue("nats_url")
    for block in found:
        try:
            workshop.use(block)
        except BaseException as error:
            error.add_note(f"{page}:{block.line}")
            raise


@pytest.mark.parametrize(
    ("expected", "printed", "missing"),
    [
        ("a\nb", "a\nx\nb", None),
        ("a\nb", "b\na", "b"),
        ("took … ms", "took   12 ms", None),
        ("took … ms", "took 12 s", "took … ms"),
        ("a\n…\nc", "a\nc", None),
    ],
)
def test_output_is_compared_line_by_line(expected: str, printed: str, missing: str | None, unmet: Any) -> None:
    assert unmet(expected, printed) == missing
