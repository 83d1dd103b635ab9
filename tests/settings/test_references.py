"""`env:` and `file:` references, and what is shown of a URL."""

import os
from pathlib import Path

import pytest

from receiver.errors import SettingsError
from receiver.settings import resolve, without_password


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SET_THERE", "from the environment")
    monkeypatch.setenv("BLANK", "  ")
    monkeypatch.setenv("NO_TEXT", os.fsdecode(b"\xff"))
    (folder / ".env").write_text("SET_THERE=from the file\nONLY_IN_FILE=from the file\n")
    (folder / "secret").write_text("from the secret\r\n")
    (folder / "spaced").write_text(" spaces are kept \n")
    (folder / "marked").write_bytes(b"\xef\xbb\xbffrom the secret\r\n")
    (folder / "empty").write_text("\n")
    (folder / "binary").write_bytes(b"\xff\xfe")
    return folder


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("whsec_in_clear", "whsec_in_clear"),
        ("env:SET_THERE", "from the environment"),
        ("env:ONLY_IN_FILE", "from the file"),
        ("file:secret", "from the secret"),
        ("file:marked", "from the secret"),
        ("file:spaced", " spaces are kept "),
        ("FILE:secret", "FILE:secret"),
    ],
)
def test_a_reference_becomes_what_it_refers_to(place: Path, value: str, expected: str) -> None:
    assert resolve(value, setting="a.b", folder=place) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "a.b: is empty"),
        ("   ", "a.b: is empty"),
        ("env:BLANK", "a.b: is empty"),
        ("file:empty", "a.b: is empty"),
        ("env:NOT_THERE", "a.b: the environment variable NOT_THERE is not set"),
        ("env:NO_TEXT", "a.b: is not UTF-8 text"),
        ("env:", "a.b: env: names no environment variable"),
        ("file:a\0b", "a.b: file: names no file, for there is a NUL in it"),
        ("file:absent", "a.b: cannot read {folder}/absent: No such file or directory"),
        ("file:.", "a.b: cannot read {folder}: Is a directory"),
        ("file:binary", "a.b: {folder}/binary is not UTF-8 text"),
    ],
)
def test_one_that_leads_nowhere_names_its_setting(place: Path, value: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(value, setting="a.b", folder=place)
    assert str(caught.value) == expected.format(folder=place)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://user:pass@host:5432/db", "postgresql://user:***@host:5432/db"),
        ("postgresql://user:p%40ss:w@host/db", "postgresql://user:***@host/db"),
        ("postgresql://user:p@ss@host/db", "postgresql://user:***@host/db"),
        ("postgresql://user@host/db?password=pass", "postgresql://user@host/db"),
        ("redis://:pass@[::1]:6379/0", "redis://:***@[::1]:6379/0"),
        ("redis://host", "redis://host"),
        ("redis://:pass@[::1", "(not a URL)"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, expected: str) -> None:
    assert without_password(url) == expected
