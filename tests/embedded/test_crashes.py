"""What the embedded servers survive: the end of their program, their own, and what earlier runs left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from receiver.embedded import EmbeddedError, EmbeddedServers, find_running
from receiver.embedded.binaries import locate, within_reach
from receiver.embedded.launcher import Launch, Launcher
from receiver.embedded.ports import free_port
from receiver.embedded.privileges import choose_account
from receiver.embedded.processes import Process, wait_for

QUICK = {"fsync": "off"}
KEEP = "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 'committed' AS word"
Ask = Callable[[str, str], str]
StartProgram = Callable[..., tuple[subprocess.Popen[str], dict[str, str]]]


def test_a_killed_program_takes_its_servers_along(warm: Path, program: StartProgram, ask: Ask) -> None:
    process, first = program(warm)
    ask(first["database_url"], KEEP)
    found = find_running(warm)
    assert found is not None
    assert found.pid == process.pid

    process.kill()
    process.wait()
    assert find_running(warm) is None
    _, second = program(warm)

    assert ask(second["database_url"], "SELECT word FROM kept") == "committed"
    pids = int(first["postgres"]), int(first["valkey"])
    assert wait_for(lambda: not any(map(Process.find, pids)), 10), "the servers die with the program"


def test_a_killed_programs_frozen_server_goes_too(warm: Path, program: StartProgram, ask: Ask) -> None:
    process, first = program(warm)
    os.kill(int(first["postgres"]), signal.SIGSTOP)
    process.kill()
    process.wait()
    _, second = program(warm)
    assert ask(second["database_url"], "SELECT 1") == "1"
    assert Process.find(int(first["postgres"])) is None


def test_a_forked_child_of_a_killed_program_holds_nothing(warm: Path, program: StartProgram, ask: Ask) -> None:
    process, first = program(warm, "--fork")
    process.kill()
    process.wait()
    try:
        _, second = program(warm)
        assert ask(second["database_url"], "SELECT 1") == "1"
        assert Process.find(int(first["child"])) is not None
    finally:
        os.kill(int(first["child"]), signal.SIGKILL)


@pytest.mark.parametrize("pattern", ["init-*/postgres", "init-*/postgres/PG_VERSION", "postgres/PG_VERSION"])
def test_a_first_start_that_was_cut_off_does_not_poison_the_folder(
    folder: Path, program: StartProgram, ask: Ask, pattern: str
) -> None:
    process, _ = program(folder, f"--die-at={pattern}")
    assert process.wait(60) == -signal.SIGKILL
    _, second = program(folder)
    assert ask(second["database_url"], "SELECT current_database()") == "receiver"
    assert not list(folder.glob("init-*"))


@pytest.mark.parametrize("way", ["kill", "stop_immediate", "restart"])
@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_server_that_went_down_is_back_at_once(servers: EmbeddedServers, ask: Ask, name: str, way: str) -> None:
    server = servers.postgres if name == "postgres" else servers.valkey
    port, pid = server.port, server.pid
    ask(servers.database_url, KEEP)
    getattr(server, way)()
    server.start()
    assert server.port == port
    assert server.pid != pid
    assert Process.find(pid) is None
    assert ask(servers.database_url, "SELECT word FROM kept") == "committed"


def test_a_busy_session_of_a_killed_server_does_not_keep_the_next_from_starting(
    servers: EmbeddedServers, ask: Ask
) -> None:
    endless = "DO $$ BEGIN LOOP END LOOP; END $$"
    session = subprocess.Popen([servers.binary("psql"), servers.database_url, "-c", endless], stderr=subprocess.DEVNULL)
    try:
        busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'"
        assert wait_for(lambda: ask(servers.database_url, busy) == "1", 10)
        servers.postgres.kill()
        assert servers.postgres._family(), "the session goes on without a server"
        servers.postgres.start()
        assert ask(servers.database_url, busy) == "0"
    finally:
        session.kill()
        session.wait()


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_frozen_server_thaws_or_stops(servers: EmbeddedServers, ask: Ask, name: str) -> None:
    server = servers.postgres if name == "postgres" else servers.valkey
    family = server._family()
    server.freeze()
    assert wait_for(lambda: {_state(pid) for pid in family} == {"T"}, 10)
    server.thaw()
    assert wait_for(lambda: "T" not in {_state(pid) for pid in family}, 10)
    assert ask(servers.database_url, "SELECT 1") == "1"
    server.freeze()
    servers.stop()
    assert not any(map(Process.find, family))
    last_words = {"postgres": "database system is shut down", "valkey": "bye bye"}
    assert last_words[name] in server.log.read_text().splitlines()[-1], "it was stopped in good order, not killed"


@pytest.mark.parametrize("whose", ["a program", "another project's server", "init", "nobody's", "nothing", "nonsense"])
def test_a_stale_pid_file_is_not_believed(
    warm: Path, looked_at: EmbeddedServers, bystander: int, ask: Ask, whose: str
) -> None:
    named = {
        "a program": str(bystander),
        "another project's server": str(looked_at.postgres.pid),
        "init": "1",
        "nobody's": "4194304",
        "nothing": "",
        "nonsense": "x",
    }
    pid_file = warm / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{named[whose]}\n{warm}/postgres\n" if named[whose] else "")
    os.chown(pid_file, pid_file.parent.stat().st_uid, -1)
    with EmbeddedServers(warm, postgres_settings=QUICK) as servers:
        assert ask(servers.database_url, "SELECT 1") == "1"
    assert Process.find(bystander) is not None
    assert looked_at.postgres.alive


def test_a_postgres_of_somebody_elses_over_our_data_is_left_alone(warm: Path) -> None:
    data = warm / "postgres"
    account = choose_account(warm, data)
    with Launcher(account) as launcher:
        options = ["-D", str(data), "-p", str(free_port(0)), "-c", "unix_socket_directories="]
        binaries = within_reach(locate(), account, lambda _: None)
        command = [str(binaries.postgres("postgres")), *options]
        child = launcher.start(Launch(command=command, death_signal=signal.SIGQUIT, log=warm / "other.log"))
        assert wait_for(lambda: "ready" in _read(data / "postmaster.pid"), 20)
        with pytest.raises(EmbeddedError, match=f"process {child.process.pid}") as refused:
            EmbeddedServers(warm).start()
        assert refused.value.reason == "embedded_locked"
        assert child.process.poll() is None
        child.process.terminate()
        child.process.wait()


@pytest.fixture
def bystander() -> Iterator[int]:
    """The pid of a program that has nothing to do with us."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid


def _state(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].strip()[:1]


def _read(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text()
    return ""
