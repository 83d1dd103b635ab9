"""Links between pages lead somewhere, and every page can be reached from the index."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
WHOLE = [page for page in PAGES if page.is_relative_to(DOCS) and page.parent.name != "notes"]
"""The notes are parts of pages."""
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def links(page: Path) -> list[str]:
    return [link for link in LINK.findall(FENCED.sub("", page.read_text())) if not link.startswith("http")]


def anchors(page: Path) -> set[str]:
    """Headings as they are linked to: lower case, punctuation out, hyphens for spaces."""
    words = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(FENCED.sub("", page.read_text())))
    return {each.strip().replace(" ", "-") for each in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        # Notes become a part of the page above them.
        folder = page.parents[1] if page.parent.name == "notes" else page.parent
        target = (folder / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def linked(page: Path) -> set[Path]:
    return {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}


@pytest.mark.parametrize("page", WHOLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_index_leads_to_every_page(page: Path) -> None:
    """Itself, or by the table of providers."""
    index, providers = DOCS / "index.md", DOCS / "providers" / "README.md"
    assert page in {index} | linked(index) | linked(providers)


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(page.name[:4]) for page in (DOCS / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_changelog_has_the_version() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert re.search(rf"^## \[{re.escape(version[1])}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


CITED = sorted(
    {match for page in PAGES if page.exists() for match in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text())}
)


@pytest.mark.parametrize(("path", "name"), CITED, ids=str)
def test_cited_tests_exist(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
