"""The embedded servers in ordinary life: start, stop, start again, side by side."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.embedded import EmbeddedError, EmbeddedServers, find_running
from receiver.embedded.processes import Process, wait_for

QUICK = {"fsync": "off"}
KEEP = "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 'committed' AS word"
Ask = Callable[[str, str], str]
StartProgram = Callable[..., tuple[subprocess.Popen[str], dict[str, str]]]


def test_data_ports_and_passwords_outlive_a_stop(folder: Path, ask: Ask) -> None:
    cold, warm = list[str](), list[str]()
    with EmbeddedServers(folder, on_step=cold.append) as servers:
        urls = servers.database_url, servers.redis_url
        ask(servers.database_url, KEEP)
    with EmbeddedServers(folder, on_step=warm.append) as servers:
        assert (servers.database_url, servers.redis_url) == urls
        assert ask(servers.database_url, "SELECT word FROM kept") == "committed"
    assert len(cold) == len(warm) + 1, "the cluster is made once"


def test_defaults_are_durable_and_the_same_everywhere(warm: Path, ask: Ask) -> None:
    shown = "fsync", "synchronous_commit", "TimeZone", "server_encoding", "max_connections", "listen_addresses"
    with EmbeddedServers(warm) as servers:
        values = [ask(servers.database_url, f"SHOW {name}") for name in shown]
        assert values == ["on", "on", "UTC", "UTF8", "200", "127.0.0.1"]
        assert _valkey_says(servers, "CONFIG GET save") == ["*2", "$4", "save", "$0", ""]


def test_settings_reach_the_servers(warm: Path, ask: Ask) -> None:
    settings = {"work_mem": "7MB"}, {"maxmemory": "3mb"}
    with EmbeddedServers(warm, postgres_settings=settings[0], valkey_settings=settings[1]) as servers:
        assert ask(servers.database_url, "SHOW work_mem") == "7MB"
        assert _valkey_says(servers, "CONFIG GET maxmemory")[-1] == str(3 * 1024 * 1024)


def test_nobody_enters_without_the_password(looked_at: EmbeddedServers, ask: Ask) -> None:
    with pytest.raises(AssertionError, match="password authentication failed"):
        ask(looked_at.database_url.replace("merchant:", "merchant:not-"), "SELECT 1")
    with socket.create_connection(("127.0.0.1", looked_at.valkey.port)) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(64).startswith(b"-NOAUTH")


def test_only_the_owner_reads_the_passwords(looked_at: EmbeddedServers) -> None:
    folder = looked_at.postgres.log.parent
    for path in folder.iterdir():
        assert not path.stat().st_mode & 0o077, path
    secret = looked_at.redis_url.split("@")[0].removeprefix("redis://:")
    for pid in (looked_at.postgres.pid, looked_at.valkey.pid):
        assert secret not in Path(f"/proc/{pid}/cmdline").read_text()


def test_a_terminals_interrupt_is_not_for_the_servers(looked_at: EmbeddedServers) -> None:
    for pid in (looked_at.postgres.pid, looked_at.valkey.pid):
        assert os.getsid(pid) == pid != os.getsid(0)


def test_postgres_programs_are_at_hand(looked_at: EmbeddedServers) -> None:
    assert "pgbench (PostgreSQL) 18" in subprocess.check_output([looked_at.binary("pgbench"), "--version"], text=True)
    with pytest.raises(EmbeddedError, match="no-such-program"):
        looked_at.binary("no-such-program")


def test_a_stop_leaves_no_process(warm: Path) -> None:
    servers = EmbeddedServers(warm, postgres_settings=QUICK).start()
    pids = servers.postgres.pid, servers.valkey.pid
    servers.stop()
    servers.stop()
    assert [Process.find(pid) for pid in pids] == [None, None]
    with pytest.raises(EmbeddedError) as stopped:
        _ = servers.database_url
    assert stopped.value.reason == "embedded_not_running"


def test_projects_side_by_side(looked_at: EmbeddedServers, servers: EmbeddedServers, ask: Ask) -> None:
    pairs = looked_at, servers
    assert len({pair.postgres.port for pair in pairs} | {pair.valkey.port for pair in pairs}) == 4
    ask(servers.database_url, KEEP)
    assert ask(looked_at.database_url, "SELECT to_regclass('kept') IS NULL") == "t"
    neighbour = looked_at.postgres.pid, looked_at.valkey.pid
    servers.postgres.kill()
    servers.postgres.start()
    servers.stop()
    assert (looked_at.postgres.pid, looked_at.valkey.pid) == neighbour
    assert ask(looked_at.database_url, "SELECT 1") == "1"


def test_a_copied_folder_is_another_project(servers: EmbeddedServers, place: Path, ask: Ask) -> None:
    ask(servers.database_url, "CHECKPOINT")
    copy = place / "copy"
    subprocess.run(["cp", "-a", servers.home, copy], check=True)
    assert find_running(copy) is None
    with EmbeddedServers(copy, postgres_settings=QUICK) as copied:
        assert copied.postgres.port != servers.postgres.port
        assert ask(copied.database_url, "SELECT 1") == "1"
    assert ask(servers.database_url, "SELECT 1") == "1"


def test_a_second_program_is_refused(looked_at: EmbeddedServers, program: StartProgram) -> None:
    folder = looked_at.postgres.log.parent
    _, refused = program(folder)
    assert refused["reason"] == "embedded_locked"
    assert f"process {os.getpid()}" in refused["message"]
    with pytest.raises(EmbeddedError, match=f"process {os.getpid()}"):
        EmbeddedServers(folder).start()
    assert looked_at.postgres.alive


def test_other_commands_find_a_running_pair(servers: EmbeddedServers) -> None:
    folder = servers.home
    found = find_running(folder)
    assert found is not None
    assert (found.database_url, found.redis_url, found.pid) == (servers.database_url, servers.redis_url, os.getpid())
    servers.postgres.restart()
    assert find_running(folder) == found
    servers.stop()
    assert find_running(folder) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"lock": 1}', '{"lock": "x", "program": 7}'])
def test_a_state_file_of_nonsense_is_no_running_pair(place: Path, content: str) -> None:
    (place / "servers.json").write_text(content)
    assert find_running(place) is None


def test_servers_outlive_the_thread_that_started_them(warm: Path, ask: Ask) -> None:
    servers = EmbeddedServers(warm, postgres_settings=QUICK)
    thread = threading.Thread(target=servers.start)
    thread.start()
    task = Path(f"/proc/self/task/{thread.native_id}")
    assert task.exists()
    thread.join()
    try:
        assert wait_for(lambda: not task.exists(), 10)
        assert ask(servers.database_url, "SELECT 1") == "1"
        assert _valkey_says(servers, "PING") == ["+PONG"]
    finally:
        servers.stop()


def test_the_port_of_last_time_is_left_to_whoever_took_it(warm: Path, ask: Ask) -> None:
    with EmbeddedServers(warm, postgres_settings=QUICK) as servers:
        port = servers.postgres.port
    with socket.create_server(("127.0.0.1", port)), EmbeddedServers(warm, postgres_settings=QUICK) as servers:
        assert servers.postgres.port != port
        assert ask(servers.database_url, "SELECT 1") == "1"


def test_a_lost_state_file_costs_the_password_not_the_data(warm: Path, ask: Ask) -> None:
    with EmbeddedServers(warm, postgres_settings=QUICK) as servers:
        ask(servers.database_url, KEEP)
        before = servers.database_url
    (warm / "servers.json").unlink()
    with EmbeddedServers(warm, postgres_settings=QUICK) as servers:
        assert ask(servers.database_url, "SELECT word FROM kept") == "committed"
        assert servers.database_url != before


@pytest.mark.parametrize(
    ("postgres_settings", "valkey_settings", "words"),
    [
        ({"no_such_setting": "1"}, {}, "unrecognized configuration parameter"),
        ({}, {"no-such-setting": "1"}, "Bad directive"),
    ],
)
def test_a_failed_start_says_why_and_leaves_nothing(
    warm: Path, postgres_settings: dict[str, str], valkey_settings: dict[str, str], words: str
) -> None:
    with pytest.raises(EmbeddedError, match=words) as failed:
        EmbeddedServers(warm, postgres_settings=postgres_settings, valkey_settings=valkey_settings).start()
    assert failed.value.reason == "embedded_start_failed"
    assert find_running(warm) is None
    with EmbeddedServers(warm, postgres_settings=QUICK) as servers:
        assert servers.postgres.alive


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(place: Path) -> None:
    (place / "file").touch()
    with pytest.raises(EmbeddedError) as failed:
        EmbeddedServers(place / "file" / "below").start()
    assert failed.value.reason == "embedded_folder"


def _valkey_says(servers: EmbeddedServers, command: str) -> list[str]:
    secret = servers.redis_url.split("@")[0].removeprefix("redis://:")
    with socket.create_connection(("127.0.0.1", servers.valkey.port), 10) as connection:
        connection.sendall(f"AUTH {secret}\r\n{command}\r\nQUIT\r\n".encode())
        answers = connection.makefile("r", newline="\r\n").read()
    return answers.removeprefix("+OK\r\n").removesuffix("+OK\r\n").splitlines()
