"""`receiver secrets check`: each key by itself, with its window, for every kind of key."""

from pathlib import Path

import pytest

from receiver.cli.exits import Exit
from receiver.settings import made
from receiver.sources import build_sources, made_up
from tests.cli.kit import AT, Cli, as_json, signed, write_sources


@pytest.mark.parametrize("name", ["stripe", "wechatpay", "standardwebhooks"])
def test_which_key_signed(cli: Cli, folder: Path, name: str) -> None:
    """Beside a stranger's, which did not."""
    own, other = made_up(name), made_up(name)
    setting = {"stripe": "secrets", "wechatpay": "certificates", "standardwebhooks": "secrets"}[name]
    first, second = other[setting], own[setting]
    assert isinstance(first, list)
    assert isinstance(second, list)
    write_sources(folder, {"shop": {**own, setting: [*first, *second]}})
    by = build_sources(made(sources={"shop": own}), Path())["shop"]
    (folder / "captured").write_bytes(as_json(signed(by)))
    said = cli("secrets", "check", "shop", "--request", "captured", "--at", AT, "--json")
    assert said.code == 0
    found = {str(row["key"]): row["matches"] for row in said.rows()}
    assert (found[f"{setting}[0]"], found[f"{setting}[1]"]) == (False, True)
    shown = cli("secrets", "check", "shop", "--request", "captured", "--at", AT).out.splitlines()
    assert shown[0].split() == ["KEY", "MATCHES", "REASON"]
    assert shown[2].split() == [f"{setting}[1]", "yes", "-"]
    assert not [key for key in (*first, *second) if str(key) in said.out]


def test_a_key_that_is_over(cli: Cli, folder: Path) -> None:
    secrets = made_up("stripe")["secrets"]
    assert isinstance(secrets, list)
    (folder / "receiver.toml").write_text(
        f'[sources.shop]\nprovider = "stripe"\n'
        f'secrets = [{{ value = "{secrets[0]}", name = "old", not_after = 2025-01-01T00:00:00Z }}]\n'
    )
    by = build_sources(made(sources={"shop": {"provider": "stripe", "secrets": secrets}}), Path())["shop"]
    (folder / "captured").write_bytes(as_json(signed(by)))
    said = cli("secrets", "check", "shop", "--request", "captured", "--at", AT, "--json")
    assert said.code == Exit.FAILED
    (row,) = said.rows()
    assert (row["key"], row["setting"], row["matches"], row["accepted"]) == ("old", "secrets[0]", True, False)
    assert (row["reason"], row["not_before"], row["not_after"]) == ("key_expired", None, "2025-01-01T00:00:00Z")
    shown = cli("secrets", "check", "shop", "--request", "captured", "--at", AT).out.splitlines()
    assert shown[0].split() == ["KEY", "MATCHES", "REASON", "NOT", "BEFORE", "NOT", "AFTER"]
    assert shown[1].split() == ["old", "yes", "key_expired", "-", "2025-01-01", "00:00:00Z"]


def test_a_capture_of_long_ago(cli: Cli, folder: Path) -> None:
    """Which key it was is seen although the signature is too old to be accepted."""
    own, other = made_up("stripe"), made_up("stripe")
    first, second = other["secrets"], own["secrets"]
    assert isinstance(first, list)
    assert isinstance(second, list)
    write_sources(folder, {"shop": {**own, "secrets": [*first, *second]}})
    by = build_sources(made(sources={"shop": own}), Path())["shop"]
    (folder / "captured").write_bytes(as_json(signed(by)))
    said = cli("secrets", "check", "shop", "--request", "captured")
    assert said.code == Exit.FAILED
    found = [line.split() for line in said.out.splitlines()[1:]]
    assert found == [["secrets[0]", "no", "timestamp_expired"], ["secrets[1]", "yes", "timestamp_expired"]]
    assert "--at UNIX_SECONDS" in said.err


def test_a_root_that_is_tried_beside_its_intermediates(cli: Cli, folder: Path) -> None:
    """UnionPay's intermediates lead to one root each, so that one root alone is no set of settings."""
    own, other = made_up("unionpay"), made_up("unionpay")
    pairs = {name: [*as_list(other[name]), *as_list(own[name])] for name in ("roots", "intermediates")}
    write_sources(folder, {"shop": {**own, **pairs}})
    by = build_sources(made(sources={"shop": own}), Path())["shop"]
    (folder / "captured").write_bytes(as_json(signed(by)))
    said = cli("secrets", "check", "shop", "--request", "captured", "--at", AT, "--json")
    assert [(row["setting"], row["matches"]) for row in said.rows()] == [("roots[0]", False), ("roots[1]", True)]


def as_list(values: object) -> list[object]:
    assert isinstance(values, list)
    return values


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("", "sources: no source is called 'shop'; configured: none"),
        ('[sources.shop]\nprovider = "stripe"\nverification = "none"\n', "sources.shop.verification: is none"),
        ('[sources.shop]\nprovider = "stripe"\n', "sources.shop.secrets: is missing"),
    ],
)
def test_without_keys(cli: Cli, folder: Path, section: str, message: str) -> None:
    (folder / "receiver.toml").write_text(section)
    (folder / "captured").write_bytes(b"POST / HTTP/1.1\n\n{}")
    said = cli("secrets", "check", "shop", "--request", "captured")
    assert (said.code, said.out) == (Exit.SETTINGS, "")
    assert said.err.startswith(f"receiver: settings: {message}")
