"""`migrate`, `serve`, `work` and `up` as programs, from their start to a signal."""

import asyncio
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from receiver.cli.exits import Exit
from receiver.embedded import ports
from receiver.settings import without_password
from receiver.storage import migrate
from tests.cli.conftest import SHOP
from tests.cli.kit import Cli, Start, until

FREE_PORTS = ("--port", "0", "--operator-port", "0", "--json")


def test_migrate_is_done_once(cli: Cli, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_DATABASE_URL", empty_database_url)
    head = migrate.head()
    first = cli("migrate", "--json")
    assert (first.code, first.err) == (0, "")
    assert (first.fields()["before"], first.fields()["after"]) == (None, head)
    assert isinstance(made := first.fields()["partitions"], list)
    assert len(made) == 4
    assert cli("migrate", "--json").fields() == {"before": head, "after": head, "partitions": []}
    assert cli("migrate").out == f"already at revision {head}\n"


def test_a_newer_schema_is_left_alone(cli: Cli, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_DATABASE_URL", database_url)

    async def pretend() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE receiver.alembic_version SET version_num = '9999'")
        await connection.close()

    asyncio.run(pretend())
    assert cli("migrate").out == "already at revision 9999\n"


@pytest.fixture
def payments(with_sources: Path) -> Path:
    (with_sources / "payments.py").write_text(SHOP)
    return with_sources


def states(cli: Cli) -> list[object]:
    return [row["state"] for row in cli("events", "list", "--json").rows()]


def test_serve_and_work_are_programs_of_their_own(
    *, cli: Cli, payments: Path, variables: dict[str, str], started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    port = ports.free_port(0)
    serve = ("serve", "payments:receiver", "--processes", 2, "--port", port, "--operator-port", 0, "--json")
    servers = started(payments, *serve, variables=variables)
    worker = started(payments, "work", "payments:receiver", "--operator-port", 0, "--json", variables=variables)
    listening = [servers.read_json() for _ in range(2)]
    assert {member["url"] for member in listening} == {f"http://127.0.0.1:{port}"}
    assert worker.read_json()["url"] is None

    url = listening[0]["url"]
    assert cli("send", "stripe", "paid", "--to", url, "--count", 20).code == 0
    until(lambda: states(cli) == ["succeeded"] * 20)
    for member in listening:
        with urllib.request.urlopen(f"{member['operator_url']}/metrics") as answer:
            assert b"receiver_" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/metrics")

    assert [program.interrupt() for program in (servers, worker)] == [0, 0]
    for program in (servers, worker):
        said = program.errors.read_text()
        assert '"event": "started"' in said
        assert '"event": "stopping"' in said
        assert not [url for url in variables.values() if without_password(url) != url and url in said]


STUCK = """
import asyncio
import time

from receiver import Receiver

receiver = Receiver()


@receiver.on("stripe")
async def swallows(event, tx):
    while True:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            pass


@receiver.on("stripe")
async def leaves_a_thread(event, tx):
    await asyncio.to_thread(time.sleep, 3600)


@receiver.on("stripe")
def hangs(event, tx):
    time.sleep(3600)
"""


def test_a_program_ends_though_its_handlers_do_not(
    *, cli: Cli, with_sources: Path, variables: dict[str, str], started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (with_sources / "stuck.py").write_text(STUCK)
    arguments = ("up", "stuck:receiver", *FREE_PORTS)
    running = started(with_sources, *arguments, variables={**variables, "RECEIVER_GRACE_SECONDS": "0.5"})
    url = running.read_json()["url"]
    assert cli("send", "stripe", "paid", "--to", url).code == 0
    until(lambda: [row["running"] for row in cli("workers", "list", "--json").rows()] == [3])
    began = time.monotonic()
    assert running.interrupt() == 0
    assert time.monotonic() - began < 15
    assert [row["state"] for row in cli("workers", "list", "--json").rows()] == ["stopped"]
    (event,) = cli("events", "list", "--json").rows()
    dispatches = cli("events", "show", event["id"], "--json").fields()["dispatches"]
    assert isinstance(dispatches, list)
    assert {row["reason"] for row in dispatches} == {"worker_stopped"}


@pytest.mark.usefixtures("payments")
def test_a_port_that_is_taken_is_named(
    cli: Cli, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = cli("migrate")
    assert said.code == 0
    for option, setting in (("--port", "port"), ("--operator-port", "operator_port")):
        other = "--operator-port" if option == "--port" else "--port"
        said = cli("up", option, taken, other, 0)
        assert (said.code, said.out) == (Exit.SETTINGS, "")
        message = f"receiver: settings: {setting}: cannot listen on 127.0.0.1:{taken}: Address already in use"
        assert said.err.splitlines()[-1] == message


@pytest.mark.usefixtures("payments")
@pytest.mark.parametrize("command", ["serve", "work", "up"])
def test_what_is_kept_for_less_than_a_provider_repeats_does_not_start(
    cli: Cli, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name, value in {**variables, "RECEIVER_RETENTION_DAYS": "2"}.items():
        monkeypatch.setenv(name, value)
    assert cli("migrate").code == 0
    said = cli(command, "payments:receiver")
    assert (said.code, said.out) == (Exit.SETTINGS, "")
    assert "retention_days: 2 is too short for sources.stripe: Stripe repeats for 72 hours" in said.err


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield int(listening.getsockname()[1])


def test_up_brings_its_own_servers(
    *, cli: Cli, payments: Path, started: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home") / "servers"
    assert cli("events", "list", "--embedded", home).code == Exit.UNREACHABLE
    first = started(payments, "up", "payments:receiver", "--embedded", home, *FREE_PORTS)
    url = first.read_json()["url"]
    assert cli("send", "stripe", "paid", "--to", url).code == 0
    until(lambda: [row["state"] for row in listed(cli, home)] == ["succeeded"])
    assert cli("migrate", "--embedded", home).out == f"already at revision {migrate.head()}\n"
    assert cli("doctor", "--embedded", home).code == 0

    second = cli("up", "--embedded", home)
    assert (second.code, second.out) == (Exit.UNREACHABLE, "")
    assert "receiver: embedded_locked: " in second.err

    assert first.interrupt(signal.SIGINT) == 0
    assert "other commands reach these servers with: --embedded" in first.errors.read_text()
    assert cli("events", "list", "--embedded", home).code == Exit.UNREACHABLE


def listed(cli: Cli, home: Path) -> list[dict[str, object]]:
    return cli("events", "list", "--embedded", home, "--json").rows()
