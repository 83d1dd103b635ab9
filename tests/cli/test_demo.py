"""`receiver demo`: the figures add up, nothing is left behind, and what it suggests to try works."""

import json
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest

from receiver.cli.demo import traffic
from receiver.cli.demo.figures import Figures
from receiver.cli.demo.tour import made_up_sources as fresh_sources
from receiver.cli.exits import Exit
from receiver.embedded import find_running
from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.settings import made
from receiver.sources import Source, build_sources
from tests.cli.kit import Cli, Start, until

KEYS = {"sent", "accepted", "duplicates", "rejected", "succeeded", "retrying", "dead", "effects"}


def test_the_demo_accounts_for_every_callback_and_leaves_nothing(program: Cli, tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").write_text('port = 1\n[sources.x]\nprovider = "none"\n')  # not the demo's business
    own_tmp = tmp_path / "tmp"
    own_tmp.mkdir()
    said = program("demo", "--exit", "--json", variables={"TMPDIR": str(own_tmp), "RECEIVER_PORT": "x"})
    assert said.code == 0, said.err
    figures = json.loads(said.out)
    assert set(figures) == KEYS
    assert figures["sent"] == 200
    assert figures["sent"] == figures["accepted"] + figures["duplicates"] + figures["rejected"]
    assert figures["effects"] == figures["succeeded"]
    assert (figures["duplicates"], figures["rejected"], figures["dead"], figures["retrying"]) == (30, 20, 1, 0)
    assert list(own_tmp.iterdir()) == []


def test_the_demo_stays_up_and_what_it_suggests_works(
    cli: Cli, folder: Path, started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = folder / "demo"
    running = started(folder, "demo", "--json", "--dir", home, "--port", 0, "--operator-port", 0)
    assert running.read_json()["sent"] == 200
    until(lambda: "receiver doctor" in running.errors.read_text())
    text = running.errors.read_text()
    suggested = [line.strip().partition("   #")[0] for line in text.splitlines() if line.startswith("  ")]
    assert suggested[0] == f"cd {home}"
    monkeypatch.chdir(home)
    commands = [shlex.split(line) for line in suggested[1:]]
    assert {command[3] for command in commands} == {"events", "send", "dead", "replay", "doctor"}
    assert {tuple(command[:3]) for command in commands} == {(sys.executable, "-m", "receiver")}
    for command in commands:
        done = cli(*command[3:])
        assert done.code == 0, (command, done)
    assert (home / "receiver.toml").stat().st_mode & 0o077 == 0
    assert running.interrupt(signal.SIGHUP) == 0, (
        "its terminal is gone, or somebody asks for settings that stand nowhere"
    )
    assert (home / "receiver.toml").exists()


def test_an_interrupted_demo_goes_quietly(folder: Path, started: Start) -> None:
    home = folder / "demo"
    running = started(folder, "demo", "--json", "--dir", home, "--port", 0, "--operator-port", 0)
    until(lambda: "sending 200 callbacks" in running.errors.read_text())
    assert running.interrupt(signal.SIGINT) == Exit.INTERRUPTED
    assert "Traceback" not in running.errors.read_text()
    assert "receiver:" not in running.errors.read_text()
    assert find_running(home) is None


@pytest.fixture(scope="module")
def planned() -> tuple[dict[str, Source], dict[str, Source], list[traffic.Planned]]:
    sources, strangers = (build_sources(made(sources=fresh_sources()), Path()) for _ in range(2))
    return sources, strangers, traffic.plan(sources, traffic.order_names(), 1_760_000_000)


def test_all_forgeries_meet_all_providers(
    planned: tuple[dict[str, Source], dict[str, Source], list[traffic.Planned]],
) -> None:
    _, _, callbacks = planned
    forged = [(callback.source.name, callback.forgery) for callback in callbacks if callback.forgery]
    assert len(callbacks) == 200
    assert len(forged) == traffic.FORGED
    assert set(forged) == {
        (name, forgery)
        for name in ("stripe", "standardwebhooks", "alipay", "wechatpay")
        for forgery in ("stranger", "changed", "expired")
    } - {("alipay", "expired")}


def test_exactly_the_forgeries_fail_verification(
    planned: tuple[dict[str, Source], dict[str, Source], list[traffic.Planned]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, strangers, callbacks = planned
    now = 1_760_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    sent = traffic.outgoing(callbacks, strangers, "http://127.0.0.1:1")
    for callback, outgoing in zip(callbacks, sent, strict=True):
        headers = [(name.lower().encode(), value.encode()) for name, value in outgoing.headers]
        arrived = Callback(method="POST", headers=headers, body=outgoing.body)
        name = outgoing.url.rpartition("/")[2]
        try:
            sources[name].verify(arrived, now)
        except VerificationError:
            assert callback.forgery
        else:
            assert not callback.forgery


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"accepted": 149}, False),
        ({"effects": 148}, False),
        ({"succeeded": 150}, False),
        ({"rejected": 21}, False),
    ],
)
def test_figures_that_do_not_add_up_are_noticed(change: dict[str, int], expected: bool) -> None:
    figures = {"sent": 200, "accepted": 150, "duplicates": 30, "rejected": 20, "succeeded": 149, "effects": 149}
    assert Figures(**{"retrying": 0, "dead": 1, **figures, **change}).add_up is expected
