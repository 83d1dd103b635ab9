"""`receiver send --list` shows what each provider can send, and what it shows can be sent."""

from pathlib import Path

import pytest

from receiver.cli.exits import Exit
from receiver.sources import PROVIDERS
from tests.cli.kit import Cli

ALL = [
    {"provider": name, "word": word, "type": sample.type}
    for name, kind in sorted(PROVIDERS.items())
    for word, sample in kind.samples.items()
]


def test_all_that_there_is(cli: Cli, folder: Path) -> None:
    assert not list(folder.iterdir()), "no settings are needed"
    assert cli("send", "--list", "--json").rows() == ALL
    lines = cli("send", "--list").out.splitlines()
    assert lines[0].split() == ["PROVIDER", "WORD", "TYPE"]
    assert len(lines) == 1 + len(ALL)


@pytest.mark.parametrize("name", ["stripe", "paddle"])
def test_of_a_source_or_of_a_provider(cli: Cli, with_sources: Path, name: str) -> None:
    assert (with_sources / "receiver.toml").exists()
    assert cli("send", name, "--list", "--json").rows() == [row for row in ALL if row["provider"] == name]


@pytest.mark.usefixtures("folder")
def test_of_nobody(cli: Cli) -> None:
    said = cli("send", "nobody", "--list")
    assert said.code == Exit.SETTINGS
    assert said.err.startswith("receiver: settings: provider: 'nobody' is none of adyen, ")


@pytest.mark.parametrize(("arguments", "missing"), [((), "SOURCE"), (("stripe",), "TYPE")])
@pytest.mark.usefixtures("with_sources")
def test_what_is_missing_is_named(cli: Cli, arguments: tuple[str, ...], missing: str) -> None:
    said = cli("send", *arguments)
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert f"Invalid value for {missing}: is missing; `receiver send --list` shows what there is" in said.err


@pytest.mark.parametrize(
    ("source", "data", "expected"),
    [
        ("stripe", '{"id": "\\ud800"}', "half of a surrogate pair stands in it, which no UTF-8 body can hold"),
        ("alipay", '{"": "a"}', "cannot be written as Alipay does: form_malformed"),
    ],
)
def test_what_cannot_be_written(cli: Cli, with_signing_sources: Path, source: str, data: str, expected: str) -> None:
    (with_signing_sources / "own.json").write_text(data)
    said = cli("send", source, "own", "--data", "own.json")
    assert (said.code, said.out, said.err) == (Exit.USAGE, "", f"receiver: payload: {expected}\n")
