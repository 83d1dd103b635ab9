"""`receiver tokens new`, and what other commands say of callback tokens: on a server that wants them."""

import asyncio
import time
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from receiver.cli.exits import Exit
from receiver.tokens import CALLBACK, TokenSigner
from tests.cli.conftest import SHOP
from tests.cli.kit import Cli, Start

KEY: Final = "a key for the tokens of these tests, made up"
SETTINGS: Final = f"""
token_keys = ["{KEY}"]

[sources.mollie]
provider = "mollie"
verification = "none"
secrets = ["made up, to send with"]
token = "url"

[sources.stripe]
provider = "stripe"
secrets = ["whsec_made_up"]
token = "field"
token_field = "data.object.token"

[sources.shop]
provider = "stripe"
secrets = ["whsec_made_up"]

[sources.open]
provider = "mollie"
verification = "none"
"""


@pytest.fixture
def configured(folder: Path) -> Path:
    (folder / "receiver.toml").write_text(SETTINGS)
    return folder


@pytest.fixture
def url(configured: Path, started: Start, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a server with these sources, whose database the commands of this process know too."""
    (configured / "payments.py").write_text(SHOP)
    told = {"RECEIVER_DATABASE_URL": database_url, "RECEIVER_REDIS_URL": redis_url}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    arguments = ("up", "payments:receiver", "--json", "--port", "0", "--operator-port", "0")
    return str(started(configured, *arguments, variables=told).read_json()["url"])


@pytest.mark.usefixtures("configured")
def test_made_for_an_address_or_a_field(cli: Cli) -> None:
    signer = TokenSigner([KEY.encode()], CALLBACK)
    paths = cli("tokens", "new", "mollie", "--count", 3, "--days", 1).out.splitlines()
    assert len(set(paths)) == 3
    for path in paths:
        before, _, token = path.rpartition("/")
        assert before == "/callbacks/mollie"
        assert signer.read(token, "mollie", time.time()).expires_at == pytest.approx(time.time() + 86_400, abs=5)
    (row,) = cli("tokens", "new", "stripe", "--json").rows()
    assert row["path"] is None
    assert signer.read(str(row["token"]), "stripe", time.time()).expires_at > time.time() + 3649 * 86_400
    assert cli("tokens", "new", "stripe").out.strip().isprintable()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nobody", "settings: sources.nobody: there is no such source"),
        ("shop", 'settings: sources.shop.token: is not set; say token = "url" or token = "field"'),
    ],
)
@pytest.mark.usefixtures("configured")
def test_not_made_for_others(cli: Cli, source: str, said: str) -> None:
    ended = cli("tokens", "new", source)
    assert (ended.code, ended.out, ended.err) == (Exit.SETTINGS, "", f"receiver: {said}\n")


def test_not_made_without_a_key(cli: Cli, folder: Path) -> None:
    (folder / "receiver.toml").write_text(SETTINGS.replace(f'token_keys = ["{KEY}"]', ""))
    ended = cli("tokens", "new", "mollie")
    assert ended.err == "receiver: settings: sources.mollie.token: needs token_keys, which sign the tokens\n"


@pytest.mark.usefixtures("configured")
def test_how_sources_are_known(cli: Cli) -> None:
    rows = {row["name"]: (row["path"], row["verification"]) for row in cli("sources", "list", "--json").rows()}
    assert rows == {
        "mollie": ("/callbacks/mollie/{token}", "token"),
        "stripe": ("/callbacks/stripe", "signature and token"),
        "shop": ("/callbacks/shop", "signature"),
        "open": ("/callbacks/open", "none"),
    }


def test_sent_with_tokens(cli: Cli, url: str) -> None:
    """Each callback with one of its own, unless one is given; of a payment too many the doctor speaks."""
    assert cli("send", "mollie", "paid", "--to", url, "--count", 4, "--json").fields()["statuses"] == {"200": 4}
    (row,) = cli("tokens", "new", "mollie", "--json").rows()
    said = cli(
        "send", "mollie", "paid", "--to", url, "--token", row["token"], "--count", 3, "--concurrency", 1, "--json"
    )
    assert (said.code, said.fields()["statuses"]) == (Exit.FAILED, {"200": 1, "401": 2})
    assert (
        cli("send", "mollie", "paid", "--to", f"{url}/callbacks/mollie", "--token", "x", "--json").code == Exit.FAILED
    )
    (made,) = cli("tokens", "new", "stripe", "--json").rows()
    for value, code in ((made["token"], Exit.OK), ("another", Exit.FAILED)):
        assert cli("send", "stripe", "paid", "--to", url, "--set", f"data.object.token={value}").code == code
    checks = {row["name"]: row for row in cli("doctor", "--json").rows()}
    assert (checks["tokens"]["status"], checks["tokens"]["found"]) == (
        "warn",
        "used for another payment in 7 days: 2 of mollie",
    )
    assert checks["source mollie"]["status"] == "ok"
    assert checks["source open"]["status"] == "warn"


@pytest.mark.usefixtures("url")
def test_the_doctor_forgets_after_a_week(cli: Cli, database_url: str) -> None:
    kept = """
        INSERT INTO receiver.quarantine (id, source, provider, reason, digest, headers, body, received_at)
        VALUES (gen_random_uuid(), 'mollie', 'mollie', 'token_repeated', '', '{}', '', now() - interval '8 days')
    """

    async def keep() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(kept)
        await connection.close()

    asyncio.run(keep())
    assert "tokens" not in {row["name"] for row in cli("doctor", "--json").rows()}
