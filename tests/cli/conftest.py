"""The command line in this process and as a program of its own, a folder with sources, and a running shop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from receiver.cli.main import run
from receiver.settings import made
from receiver.sources import Source, build_sources, made_up
from tests.cli.kit import Cli, Ended, Running, Shop, Sources, Start, clean_environment, write_sources
from tests.conftest import Servers
from tests.databases import Databases

SHOP = """
from receiver import Dead, Receiver, Retry, RetryPolicy

receiver = Receiver(retry=RetryPolicy(first=0.05, factor=1, cap=0.05, attempts=3))


@receiver.on("stripe", "payment_intent.succeeded")
async def mark_paid(event, tx):
    if event.entity_id == "doomed":
        raise Dead("no_such_order")
    if event.entity_id == "late" and event.attempt == 1:
        raise Retry(after=0.05, reason="too_early")


not_a_receiver = 1
"""

IN_TERMINAL = """
import fcntl, os, sys, termios

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "receiver", *sys.argv[1:]])
"""
"""Makes stdin the terminal that is in control, as a login does."""


@pytest.fixture(scope="session")
def made_up_sources() -> Sources:
    return {name: made_up(name) for name in ("stripe", "standardwebhooks", "alipay", "wechatpay")}


@pytest.fixture(scope="session")
def sources(made_up_sources: Sources) -> dict[str, Source]:
    return build_sources(made(sources=made_up_sources), Path())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty, and an environment without settings."""
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def with_sources(folder: Path, made_up_sources: Sources) -> Path:
    """The current folder, with a settings file of one source for each provider.

    RSA keys to sign with are left out, for reading one takes 40 ms.
    """
    lean = {
        name: {key: value for key, value in source.items() if key != "signing_key"}
        for name, source in made_up_sources.items()
    }
    write_sources(folder, lean)
    return folder


@pytest.fixture
def with_signing_sources(folder: Path, made_up_sources: Sources) -> Path:
    """The same with all keys."""
    write_sources(folder, made_up_sources)
    return folder


@pytest.fixture
def cli(folder: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process."""
    assert folder == Path.cwd()

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Ended(int(code), said.out, said.err)

    return call


@pytest.fixture
def program(folder: Path) -> Cli:
    """Runs a command as a program of its own, with what it finds in the current folder."""

    def call(*arguments: object, variables: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "receiver", *map(str, arguments)],
            cwd=folder,
            env={**clean_environment(), **(variables or {})},
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call


@pytest.fixture(scope="session")
def started() -> Iterator[Start]:
    """Starts programs; those that still run at the end are killed."""
    all_of_them: list[Running] = []

    def start(
        folder: Path,
        *arguments: object,
        variables: Mapping[str, str] | None = None,
        terminal: int | None = None,
    ) -> Running:
        errors = folder / f"stderr-{len(all_of_them)}.txt"
        # What this process lets wait, or ignores as one that a script has begun with `&`, its programs would too.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, *(["-c", IN_TERMINAL] if terminal else ["-m", "receiver"]), *map(str, arguments)],
                cwd=folder,
                env={**clean_environment(), **(variables or {})},
                stdin=terminal,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=terminal is not None,
            )
        all_of_them.append(Running(process, errors))
        return all_of_them[-1]

    yield start
    for running in all_of_them:
        running.process.kill()
        running.process.wait()
        if running.process.stdout is not None:
            running.process.stdout.close()


@pytest.fixture(scope="session")
def shop(
    *,
    tmp_path_factory: pytest.TempPathFactory,
    started: Start,
    made_up_sources: Sources,
    databases: Databases,
    servers: Servers,
) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("shop")
    write_sources(home, made_up_sources)
    (home / "payments.py").write_text(SHOP)
    database_url, redis_url = databases.make_migrated(), servers.redis_url
    running = started(
        home,
        *("up", "payments:receiver", "--json", "--port", "0", "--operator-port", "0"),
        variables={"RECEIVER_DATABASE_URL": database_url, "RECEIVER_REDIS_URL": redis_url},
    )
    listening = running.read_json()
    yield Shop(str(listening["url"]), database_url, redis_url)
    assert running.interrupt() == 0


@pytest.fixture
def with_shop(shop: Shop, with_sources: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The running shop, with commands in this process knowing its servers and sources."""
    assert with_sources == Path.cwd()
    monkeypatch.setenv("RECEIVER_DATABASE_URL", shop.database_url)
    monkeypatch.setenv("RECEIVER_REDIS_URL", shop.redis_url)
    return shop


@pytest.fixture
def variables(database_url: str, redis_url: str) -> dict[str, str]:
    """What a program is told of its servers."""
    return {"RECEIVER_DATABASE_URL": database_url, "RECEIVER_REDIS_URL": redis_url}
