"""The providers' pages are what `make providers` writes, and the settings that they show work."""

import re
import tomllib
from pathlib import Path

import pytest

from receiver.settings import made
from receiver.sources import PROVIDERS, build_sources, made_up
from scripts.provider_pages import FOLDER, NOTES, example, pages

PAGES = pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page_is_what_make_providers_writes(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path]


def test_nothing_is_left_of_a_provider_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == {"README", *PROVIDERS}
    assert {path.stem for path in NOTES.glob("*.md")} == set(PROVIDERS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_settings_that_a_page_shows_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With keys of our own behind the references: what is generated, and what the notes show."""
    own = made_up(name)
    notes = (NOTES / f"{name}.md").read_text(encoding="utf-8")
    for text in ("\n".join(example(PROVIDERS[name])), *re.findall(r"```toml\n(\[sources\..*?)```", notes, re.DOTALL)):
        sections = tomllib.loads(text)["sources"]
        for section in sections.values():
            for setting, value in section.items():
                for reference in re.findall(r"(?:env|file):[\w/.-]+", str(value)):
                    _provide(reference, _first(own.get(setting, "of-the-account")), tmp_path, monkeypatch)
        for source, built in build_sources(made(sources=sections), tmp_path).items():
            assert built.verified is (sections[source].get("verification") != "none")


def _provide(reference: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, _, place = reference.partition(":")
    if kind == "env":
        monkeypatch.setenv(place, value)
        return
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).write_text(value)


def _first(value: object) -> str:
    if isinstance(value, list):
        return str(value[0])
    return str(next(iter(value.values()))) if isinstance(value, dict) else str(value)
