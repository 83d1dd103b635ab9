"""Which keys `receiver verify` checks with, and what it says where it cannot know."""

import json
from pathlib import Path

import pytest

from receiver.cli.exits import Exit
from receiver.settings import made
from receiver.sources import Source, build_sources, made_up
from tests.cli.kit import AT, Cli, Sources, as_json, signed

NAMES = ("stripe", "standardwebhooks", "alipay", "wechatpay")


def with_second_account(folder: Path) -> dict[str, Source]:
    accounts = {"shop": made_up("stripe"), "club": made_up("stripe")}
    (folder / "receiver.toml").write_text(
        "".join(
            f'[sources.{name}]\nprovider = "stripe"\nsecrets = {json.dumps(account["secrets"])}\n'
            for name, account in accounts.items()
        )
    )
    return build_sources(made(sources=accounts), folder)


def test_another_account_that_matches_is_named(cli: Cli, folder: Path) -> None:
    accounts = with_second_account(folder)
    (folder / "captured").write_bytes(as_json(signed(accounts["club"])))
    verdict = cli("verify", "stripe", "--request", "captured", "--at", AT, "--source", "shop", "--json").fields()
    assert (verdict["reason"], str(verdict["found"]).partition(":")[0]) == (
        "signature_mismatch",
        "a key of the source club matches",
    )
    assert cli("verify", "stripe", "--request", "captured", "--at", AT, "--source", "club").code == 0


KEYS = {
    "no key at all": ([], "settings: sources: configured are shop, club; which of them is meant? say --source NAME"),
    "another provider": (
        ["--source", "ali"],
        "settings: --source: no source of stripe is called 'ali'; configured are",
    ),
    "no value": (
        ["--key", "secrets"],
        "settings: --key secrets: is not of the form NAME=VALUE; stripe needs secrets (",
    ),
    "unknown": (["--key", "secret=x"], "settings: --key.secret: unknown setting; stripe has provider,"),
    "no variable": (
        ["--key", "secrets=env:NOT_THERE"],
        "settings: --key.secrets[0]: the environment variable NOT_THERE",
    ),
    "no file": (["--key", "secrets=file:absent"], "settings: --key.secrets[0]: cannot read absent"),
    "both": (
        ["--key", "secrets=x", "--source", "shop"],
        "usage: Invalid value for --key: give either --key or --source",
    ),
}


@pytest.mark.parametrize(("arguments", "expected"), KEYS.values(), ids=KEYS)
def test_keys_that_cannot_be_found_are_explained(cli: Cli, folder: Path, arguments: list[str], expected: str) -> None:
    accounts = with_second_account(folder)
    (folder / "captured").write_bytes(as_json(signed(accounts["club"])))
    said = cli("verify", "stripe", "--request", "captured", *arguments)
    assert said.code in {Exit.SETTINGS, Exit.USAGE}
    assert said.out == ""
    assert said.err.startswith(f"receiver: {expected}")


def test_a_provider_without_a_source_says_what_it_needs(cli: Cli, folder: Path) -> None:
    (folder / "captured").write_bytes(b"POST / HTTP/1.1\n\n{}")
    said = cli("verify", "wechatpay", "--request", "captured")
    assert said.code == Exit.SETTINGS
    for setting in ("certificates", "public_keys", "api_v3_key"):
        assert setting in said.err
    assert cli("verify", "paypall", "--request", "captured").err.startswith(
        "receiver: settings: provider: 'paypall' is none of adyen, alipay, "
    )


@pytest.mark.parametrize("name", NAMES)
def test_keys_of_the_command_line_need_no_settings(
    *,
    cli: Cli,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    made_up_sources: Sources,
    sources: dict[str, Source],
    name: str,
) -> None:
    (folder / "receiver.toml").write_text("not TOML")
    (folder / "captured").write_bytes(as_json(signed(sources[name])))
    keys: list[str] = []
    for setting, value in made_up_sources[name].items():
        if setting in {"provider", "signing_key"}:
            continue
        for number, single in enumerate(value if isinstance(value, list) else [value]):
            if number % 2:
                monkeypatch.setenv(f"KEY_{setting}", str(single))
                keys += ["--key", f"{setting}=env:KEY_{setting}"]
            else:
                (folder / setting).write_text(str(single) + "\n")
                keys += ["--key", f"{setting}=file:{setting}"]
    said = cli("verify", name, "--request", "captured", "--at", AT, "--json", *keys)
    assert (said.code, said.fields()["valid"]) == (0, True)


def test_several_keys_tell_which_one_matched(
    cli: Cli, folder: Path, sources: dict[str, Source], made_up_sources: Sources
) -> None:
    (folder / "captured").write_bytes(as_json(signed(sources["stripe"])))
    toml = folder / "receiver.toml"
    assert not toml.exists()
    secrets = made_up_sources["stripe"]["secrets"]
    assert isinstance(secrets, list | tuple)
    keys = ("--key", "secrets=whsec_retired", "--key", f"secrets={secrets[0]}")
    assert cli("verify", "stripe", "--request", "captured", "--at", AT, "--json", *keys).fields()["key"] == "secrets[1]"


def test_a_source_that_verifies_nothing_has_nothing_to_verify_with(cli: Cli, folder: Path) -> None:
    (folder / "receiver.toml").write_text('[sources.s]\nprovider = "stripe"\nverification = "none"\n')
    (folder / "captured").write_bytes(b"POST / HTTP/1.1\n\n{}")
    said = cli("verify", "stripe", "--request", "captured")
    assert said.code == Exit.SETTINGS
    assert said.err.startswith("receiver: settings: sources.s.verification: is none, so there are no keys")
