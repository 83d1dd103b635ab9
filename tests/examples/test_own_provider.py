"""The example of a provider of one's own, installed as a package is: sent, served, stored, handled."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import asyncpg
import pytest

from tests.examples.conftest import EXAMPLES
from tests.examples.programs import environment, program

OWN = EXAMPLES / "own_provider"
GUIDE = (EXAMPLES.parent / "docs" / "guides" / "your-own-provider.md").read_text(encoding="utf-8")
SETTINGS = """
[sources.acme]
provider = "acme"
secrets = ["env:ACME_SECRET"]
"""
HANDLER = """
from receiver import Receiver
from sqlalchemy import text

receiver = Receiver()


@receiver.on("acme", "payment.paid")
async def mark_paid(event, tx):
    row = {"id": event.id, "entity": event.entity_id, "amount": event.data["payment"]["amount"]}
    await tx.execute(text("INSERT INTO paid VALUES (:id, :entity, :amount)"), row)
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has built and installed the example, with nothing fetched."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(OWN, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
    pip = (sys.executable, "-m", "pip", "install", *offline, "--target", folder / "packages", folder / "source")
    done = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder / "packages"


@pytest.fixture
def more(packages: Path, tmp_path: Path, database_url: str, redis_url: str) -> dict[str, str]:
    """What the programs get: the package, the servers, the secret."""
    (tmp_path / "receiver.toml").write_text(SETTINGS)
    (tmp_path / "payments.py").write_text(HANDLER)
    return {
        "PYTHONPATH": str(packages),
        "ACME_SECRET": "made up",
        "RECEIVER_DATABASE_URL": database_url,
        "RECEIVER_REDIS_URL": redis_url,
    }


def receiver(folder: Path, more: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "receiver", *arguments)
    env = {**environment(folder), **more}
    return subprocess.run(command, cwd=folder, env=env, check=False, capture_output=True, text=True, timeout=60)


STORED = "SELECT count(*), min(provider), min(trust) FROM receiver.event WHERE source = 'acme'"


@pytest.mark.anyio
async def test_from_sending_to_the_handler(tmp_path: Path, more: dict[str, str]) -> None:
    connection = await asyncpg.connect(more["RECEIVER_DATABASE_URL"])
    await connection.execute("CREATE TABLE paid (event uuid PRIMARY KEY, entity text, amount int)")
    with program(tmp_path, "serve", "payments:receiver", "--port", "0", more=more) as server:
        send = ("send", "acme", "paid", "--to", server["url"], "--json")
        sent = receiver(tmp_path, more, *send, "--count", "4", "--duplicates", "0.5")
        assert (sent.returncode, json.loads(sent.stdout)["statuses"]) == (0, {"204": 4}), sent.stderr
        forged = receiver(tmp_path, {**more, "ACME_SECRET": "another"}, *send)
        assert (forged.returncode, json.loads(forged.stdout)["statuses"]) == (1, {"401": 1}), forged.stderr
    ((stored, *what),) = await connection.fetch(STORED)
    assert 0 < stored < 4, "some of the four were resends"
    assert what == ["acme", "signed"]
    with program(tmp_path, "work", "payments:receiver", more=more):
        deadline = time.monotonic() + 30
        while await connection.fetchval("SELECT count(*) FROM paid") < stored:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    rows = await connection.fetch("SELECT p.amount, e.external_id FROM paid p JOIN receiver.event e ON e.id = p.event")
    assert [row["amount"] for row in rows] == [4200] * stored
    assert all(row["external_id"].startswith("acme_") for row in rows)
    await connection.close()


def test_it_is_listed_beside_the_others(tmp_path: Path, more: dict[str, str]) -> None:
    listed = receiver(tmp_path, more, "sources", "list", "--json")
    assert [row["provider"] for row in json.loads(listed.stdout)] == ["acme"], listed.stderr
    bare = receiver(tmp_path, {name: value for name, value in more.items() if name != "PYTHONPATH"}, "sources", "list")
    assert "sources.acme.provider: 'acme' is none of adyen, " in bare.stderr, "without the package"


def test_the_guide_shows_the_example() -> None:
    shown = dict(
        re.findall(r"```(python|toml) (?:receiver_acme.py|no-run The package's own.*?)\n(.*?)```", GUIDE, re.DOTALL)
    )
    assert shown["python"] == (OWN / "receiver_acme.py").read_text(encoding="utf-8")
    assert shown["toml"] == (OWN / "pyproject.toml").read_text(encoding="utf-8")
    assert tomllib.loads(shown["toml"])["project"]["entry-points"]["receiver.providers"] == {
        "acme": "receiver_acme:AcmePay"
    }
