"""Where settings come from, which wins, and how each mistake is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.errors import SettingsError
from receiver.settings import Settings, load, made

STRIPE = '[sources.stripe]\nprovider = "stripe"\nsecrets = ["whsec_of_the_file"]\n'
PASSWORD = "the-password"


def problems(folder: Path, **overrides: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(folder, **overrides)
    return str(caught.value).splitlines()


def test_defaults_need_no_file(folder: Path) -> None:
    settings = load(folder)
    assert (settings.port, settings.database_url, settings.sources) == (8000, None, {})


def test_each_source_of_settings_wins_over_the_weaker_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_toml() -> None:
        (folder / "receiver.toml").write_text("port = 1001\n")

    def with_secret() -> None:
        (folder / "receiver_port").write_text("1002\n")

    def with_env_file() -> None:
        (folder / ".env").write_text("RECEIVER_PORT=1003\n")

    def with_environment() -> None:
        monkeypatch.setenv("RECEIVER_PORT", "1004")

    steps: list[Callable[[], None]] = [with_toml, with_secret, with_env_file, with_environment]
    for step, port in zip(steps, (1001, 1002, 1003, 1004), strict=True):
        step()
        assert load(folder).port == port
    assert load(folder, port=1005).port == 1005
    assert load(folder, port=None).port == 1004


def test_sources_are_put_together_from_file_and_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "receiver.toml").write_text(STRIPE)
    monkeypatch.setenv("RECEIVER_SOURCES__ALI__PROVIDER", "alipay")
    monkeypatch.setenv("RECEIVER_SOURCES__ALI__PUBLIC_KEY", '["file:one.pem", "file:two.pem"]')
    sources = load(folder).sources
    assert {name: source.provider for name, source in sources.items()} == {"stripe": "stripe", "ali": "alipay"}
    assert sources["ali"].model_extra == {"public_key": ["file:one.pem", "file:two.pem"]}


MISTAKES = {
    "not a number": ("", {"RECEIVER_PORT": "http"}, "port: Input should be a valid integer"),
    "too large": ("port = 70000", {}, "port: Input should be less than or equal to 65535"),
    "zero seconds": ("lease_seconds = 0", {}, "lease_seconds: Input should be greater than or equal to 1"),
    "unknown in the file": ("prot = 1", {}, "prot: unknown setting; did you mean port?"),
    "unknown in the file, like nothing": ("xyzzy = 1", {}, "xyzzy: unknown setting"),
    "unknown variable": ("", {"RECEIVER_PROT": "1"}, "RECEIVER_PROT: unknown setting; did you mean RECEIVER_PORT?"),
    "unknown variable in lower case": ("", {"receiver_prot": "1"}, "receiver_prot: unknown setting; did you mean"),
    "unknown nested variable": ("", {"RECEIVER_PORT__X": "1"}, "RECEIVER_PORT__X: unknown setting"),
    "misspelt nested variable": ("", {"RECEIVER_SORUCES__A__B": "1"}, "RECEIVER_SORUCES__A__B: unknown setting"),
    "no provider": ("[sources.a]\nsecrets = []", {}, "sources.a.provider: Field required"),
    "empty provider": ('[sources.a]\nprovider = ""', {}, "sources.a.provider: String should have at least 1"),
    "half-hearted verification": (
        '[sources.a]\nprovider = "stripe"\nverification = "off"',
        {},
        "sources.a.verification: Input should be 'signature' or 'none'",
    ),
    "not JSON": ("", {"RECEIVER_SOURCES": "{"}, "sources: the value is not JSON"),
    "another database": ("", {"RECEIVER_DATABASE_URL": f"mysql://u:{PASSWORD}@h/d"}, "database_url: not a URL such as"),
    "empty URL": ("", {"RECEIVER_DATABASE_URL": ""}, "database_url: not a URL such as"),
    "port of a URL": ("", {"RECEIVER_REDIS_URL": f"redis://:{PASSWORD}@h:port/0"}, "redis_url: not a URL such as"),
    "half a URL": ("", {"RECEIVER_REDIS_URL": f"redis://:{PASSWORD}@[::1"}, "redis_url: not a URL such as"),
    "no such secrets": ("", {"RECEIVER_SECRETS_DIR": "/nowhere"}, "RECEIVER_SECRETS_DIR: there is no folder /nowhere"),
    "not TOML": ("port = ", {}, "receiver.toml: Invalid value"),
}


@pytest.mark.parametrize(("toml", "variables", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_names_its_setting(
    folder: Path, monkeypatch: pytest.MonkeyPatch, toml: str, variables: dict[str, str], expected: str
) -> None:
    (folder / "receiver.toml").write_text(toml)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (line,) = problems(folder)
    assert line.removeprefix(f"{folder}/").startswith(expected)
    assert PASSWORD not in line


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    (folder / "receiver.toml").write_text('port = "x"\nqueue_limit = 0\nprot = 1\n[sources.a]\n')
    assert {line.partition(":")[0] for line in problems(folder)} == {
        "port",
        "queue_limit",
        "prot",
        "sources.a.provider",
    }


def test_an_unknown_override_is_a_mistake_too(folder: Path) -> None:
    assert problems(folder, prot=1) == ["prot: unknown setting; did you mean port?"]


@pytest.mark.parametrize("name", ["receiver.toml", ".env"])
def test_a_file_that_is_not_text_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"port = \xff\xfe\n")
    (line,) = problems(folder)
    assert name in line


def test_variables_of_others_and_of_our_own_tools_are_no_settings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("STRIPE_SECRET=x\nRECEIVER_DEBUG=1\nDEBUG=1\nPORT=5\n")
    for name in ("RECEIVER_TEST_DATABASE_URL", "RECEIVER_FAILPOINT", "RECEIVER_VECTORS", "RECEIVERS", "PORT"):
        monkeypatch.setenv(name, "x")
    assert load(folder).port == 8000


def test_an_unknown_variable_in_the_env_file_is_found(folder: Path) -> None:
    (folder / ".env").write_text("RECEIVER_QUEUE=5\n")
    assert problems(folder) == ["RECEIVER_QUEUE: unknown setting; did you mean RECEIVER_QUEUE_LIMIT?"]


def test_nothing_secret_is_in_what_is_printed_of_settings(folder: Path) -> None:
    (folder / "receiver.toml").write_text(
        f'database_url = "postgresql://u:{PASSWORD}@h/d"\nredis_url = "redis://:{PASSWORD}@h"\n' + STRIPE
    )
    settings = load(folder)
    for text in (repr(settings), str(settings)):
        assert PASSWORD not in text
        assert "whsec" not in text
        assert "stripe" in text


def test_settings_that_are_made_read_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RECEIVER_PORT", "9")
    (folder / "receiver.toml").write_text(STRIPE)
    settings = made(host="0.0.0.0")
    assert (settings.port, settings.sources, settings.host) == (8000, {}, "0.0.0.0")
    with pytest.raises(SettingsError, match="port: Input should be"):
        made(port=-1)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
