"""What every command has in common: help, exit codes, clean channels, one line for each mistake."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from receiver.cli.exits import MEANINGS, Exit
from receiver.cli.options import ReplayState, State
from receiver.storage import selections, views
from tests.cli.kit import Cli

GROUPS = ("events", "dead", "replays", "audit", "workers", "sources")
COMMANDS = (
    *("demo", "up", "migrate", "serve", "work", "send", "verify", "doctor", "replay"),
    *("events list", "events show", "dead list", "workers list", "sources list", "sources keys", "audit list"),
    *(f"replays {word}" for word in ("list", "show", "follow", "pause", "resume", "cancel")),
)
HEAVY = {"sqlalchemy", "fastapi", "pydantic", "alembic", "httpx", "rich", "asyncpg", "redis", "cryptography", "uvicorn"}
PASSWORD = "the-password"
NOBODY = f"postgresql://user:{PASSWORD}@127.0.0.1:1/database"


def test_help_names_every_command_and_every_exit_code(cli: Cli) -> None:
    said = cli("--help")
    assert (said.code, said.err) == (0, "")
    assert all(f"  {command.split()[0]} " in said.out for command in COMMANDS)
    assert all(f"  {code.value} " in said.out and meaning in said.out for code, meaning in MEANINGS.items())
    assert said.out.count("...") == 1, "a one-line description was cut"  # the one is that of [ARGS]...


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    said = cli(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: receiver {command} ")


def test_help_waits_for_nothing_heavy() -> None:
    script = "import sys; from receiver.cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert HEAVY & {name.partition(".")[0] for name in done.stderr.split()} == set()


def test_the_version_is_data(cli: Cli) -> None:
    said = cli("--version")
    assert (said.code, said.err) == (0, "")
    assert said.out.split()[0] == "receiver"


@pytest.mark.parametrize("group", [[], *([name] for name in GROUPS)], ids=["receiver", *GROUPS])
def test_a_group_without_a_command_shows_its_help(cli: Cli, group: list[str]) -> None:
    said = cli(*group)
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert "Commands:" in said.err


WRONG = {
    "nope": "usage: No such command 'nope'; see `receiver --help`",
    "events nope": "usage: No such command 'nope'; see `receiver events --help`",
    "events list --nope": "usage: No such option: --nope",
    "events list --state lost": "usage: Invalid value for '--state': 'lost' is not one of 'dead',",
    "events list --limit 0": "usage: Invalid value for '--limit'",
    "events list --since soon": "usage: Invalid value for --since: 'soon' is neither an age",
    "events list --since 999999d": "usage: Invalid value for --since",
    "events list --since 0001-01-01T00:00+14:00": "usage: Invalid value for --since",
    "events show": "usage: Missing argument 'ID'",
    "replay": "usage: Invalid value for EVENT: name an event, or a handler with --handler",
    "replay --state lost": "usage: Invalid value for '--state': 'lost' is not one of 'dead',",
    "replay --handler a --until soon": "usage: Invalid value for --until: 'soon' is neither an age",
    "replay --handler a --rate 0": "usage: Invalid value for '--rate'",
    "replay --handler a --rate inf": "usage: Invalid value for --rate: is a finite number",
    "replay --handler a --rate nan": "usage: Invalid value for '--rate'",
    "replay evt_1 --rate 5": "usage: Invalid value for --rate: goes with filters, not with one event",
    "replay evt_1 --detach": "usage: Invalid value for --detach: goes with filters",
    "replay evt_1 --source a": "usage: Invalid value for --source: goes with filters",
    "replays pause": "usage: Missing argument 'ID'",
    "serve": "usage: Missing argument 'TARGET'",
    "verify stripe": "usage: Missing option '--request'",
    "verify stripe --request absent": "usage: Invalid value for --request: cannot read absent: No such",
    "verify stripe --request receiver.toml --at soon": "usage: Invalid value for '--at'",
    "verify stripe --request receiver.toml": "request_unreadable: neither JSON with method, headers and body_b64, nor",
    "send stripe": "usage: Invalid value for TYPE: is missing",
    "send nobody paid": "usage: Invalid value for SOURCE: no source is called 'nobody'; configured: stripe, ",
    "send stripe paid --data absent": "usage: Invalid value for --data: cannot read absent",
    "send stripe paid --data receiver.toml": "usage: Invalid value for --data: receiver.toml is not JSON",
    "send stripe paid --duplicates 1": "usage: Invalid value for '--duplicates'",
    "send stripe paid --to here": "usage: Invalid value for --to: 'here' is no URL",
    "send stripe paid --to http://h:x": "usage: Invalid value for --to: 'http://h:x' is no URL",
    "send stripe lost": "payload: stripe has no sample 'lost'; it has paid (payment_intent.succeeded)",
    "send stripe paid --set x": "payload: --set x: is not of the form PATH=VALUE",
    "send stripe paid --set id=\udcff": "payload: half of a surrogate pair stands in it",
    "send stripe paid --set data.nope.x=1": "payload: data.nope.x: there is no 'nope'; there is object",
    "send stripe paid --set id.x=1": "payload: id.x: there is nothing that could hold 'x'",
    "demo --dir .": "usage: Invalid value for --dir: . is not a new or empty folder",
}


@pytest.mark.usefixtures("with_sources")
@pytest.mark.parametrize(("line", "expected"), WRONG.items(), ids=WRONG)
def test_a_wrong_command_line_is_one_line(cli: Cli, line: str, expected: str) -> None:
    said = cli(*line.split())
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"receiver: {expected}")


NEEDS_DATABASE = (
    ["migrate"],
    ["serve", "payments:receiver"],
    ["work", "payments:receiver"],
    ["up"],
    ["events", "list"],
    ["events", "show", "evt_1"],
    ["dead", "list"],
    ["replay", "evt_1"],
    ["replay", "--handler", "mark_paid"],
    ["replays", "list"],
    ["replays", "pause", "01980000-0000-7000-8000-000000000000"],
    ["audit", "list"],
    ["sources", "keys"],
)
TARGET = "from receiver import Receiver\nreceiver = Receiver()\nother = 1\n"


@pytest.fixture
def payments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (folder / "payments.py").write_text(TARGET)
    (folder / "broken.py").write_text("import nothing_of_that_name\n")
    (folder / "failing.py").write_text("from receiver import Receiver\n\nreceiver = Receiver(5 / 0)\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder
    for name in ("payments", "broken", "failing"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("payments")
@pytest.mark.parametrize("arguments", NEEDS_DATABASE, ids=" ".join)
def test_without_a_url_it_says_how_to_give_one(cli: Cli, arguments: list[str]) -> None:
    said = cli(*arguments)
    assert (said.code, said.out) == (Exit.SETTINGS, "")
    assert said.err.startswith("receiver: settings: database_url: is not set; say RECEIVER_DATABASE_URL=postgresql://")
    assert "--embedded DIR" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.usefixtures("payments")
@pytest.mark.parametrize(
    "arguments", [["serve", "payments:receiver"], ["work", "payments:receiver"], ["up"]], ids=" ".join
)
def test_programs_need_redis_too(cli: Cli, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_DATABASE_URL", NOBODY)
    said = cli(*arguments)
    assert said.code == Exit.SETTINGS
    assert said.err.startswith("receiver: settings: redis_url: is not set; say RECEIVER_REDIS_URL=redis://")


@pytest.mark.usefixtures("payments")
@pytest.mark.parametrize("arguments", [arguments for arguments in NEEDS_DATABASE if arguments[0] != "up"], ids=" ".join)
def test_embedded_servers_that_do_not_run_are_to_be_started(cli: Cli, arguments: list[str]) -> None:
    said = cli(*arguments, "--embedded", "there")
    assert (said.code, said.out) == (Exit.UNREACHABLE, "")
    assert said.err == (
        "receiver: embedded_not_running: no servers run over there;"
        " start them in another terminal: receiver up --embedded there\n"
    )


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("arguments", [*NEEDS_DATABASE[4:], ["migrate"]], ids=" ".join)
def test_a_database_that_is_not_there_is_named_without_its_password(
    cli: Cli, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECEIVER_DATABASE_URL", NOBODY)
    said = cli(*arguments)
    assert (said.code, said.out) == (Exit.UNREACHABLE, "")
    assert said.err.startswith("receiver: store_unavailable: PostgreSQL at postgresql://user:***@127.0.0.1:1/database")
    assert said.err.count("\n") == 1
    assert PASSWORD not in said.err


@pytest.mark.parametrize("arguments", NEEDS_DATABASE[4:], ids=" ".join)
def test_a_database_without_our_tables_is_to_be_migrated(
    cli: Cli, empty_database_url: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECEIVER_DATABASE_URL", empty_database_url)
    said = cli(*arguments)
    assert (said.code, said.out) == (Exit.SETTINGS, "")
    assert "run `receiver migrate`" in said.err


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("payments", "settings: target: 'payments' is not of the form module:attribute"),
        ("absent:receiver", "settings: target: there is no module 'absent'"),
        ("payments:absent", "settings: target: 'payments' has no Receiver named 'absent'"),
        ("payments:other", "settings: target: 'payments' has no Receiver named 'other'"),
        ("broken:receiver", "internal: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("failing:receiver", "internal: ZeroDivisionError: division by zero"),
    ],
)
def test_a_wrong_target_is_one_line(cli: Cli, payments: Path, target: str, expected: str) -> None:
    for command in ("serve", "work", "up"):
        said = cli(command, target)
        assert said.code == (Exit.INTERNAL if expected.startswith("internal") else Exit.SETTINGS)
        assert said.out == ""
        assert said.err.startswith(f"receiver: {expected}")
        assert said.err.count("\n") == 1
    if target.startswith("failing"):
        assert f"{payments}/failing.py:3" in said.err


def test_every_wrong_setting_is_a_line_of_its_own(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "receiver.toml").write_text("prot = 1\n")
    monkeypatch.setenv("RECEIVER_PORT", "x")
    said = cli("events", "list")
    assert (said.code, said.out) == (Exit.SETTINGS, "")
    assert said.err.splitlines() == [
        "receiver: settings: port: Input should be a valid integer, unable to parse string as an integer",
        "receiver: settings: prot: unknown setting; did you mean port?",
    ]


def test_both_kinds_of_servers_at_once_are_a_mistake(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "receiver.toml").write_text('embedded = "there"\n')
    monkeypatch.setenv("RECEIVER_DATABASE_URL", NOBODY)
    assert cli("events", "list").err.startswith("receiver: settings: embedded: is set together with database_url")
    # In so many words on the command line it is none.
    assert cli("events", "list", "--embedded", "here").code == Exit.UNREACHABLE


@pytest.mark.usefixtures("payments")
def test_a_traceback_is_shown_to_whoever_asks(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli("serve", "failing:receiver")


def test_the_states_to_choose_from_are_those_that_there_are() -> None:
    assert get_args(State) == get_args(views.State)
    assert get_args(ReplayState) == get_args(selections.ReplayState)
