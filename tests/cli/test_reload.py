"""SIGHUP under load: sources come, go and change their keys, and no request is dropped."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from receiver.embedded import ports
from receiver.settings import made
from receiver.sources import Source, build_sources, made_up
from tests.cli.kit import Running, Sources, Start, until, write_sources


def source(settings: dict[str, object]) -> Source:
    return build_sources(made(sources={"shop": settings}), Path())["shop"]


def send(client: httpx.Client, by: Source, number: int, path: str = "/callbacks/shop") -> int:
    kind = type(by.provider)
    payload = kind.sample("paid", external_id=f"evt_{number}", entity_id="o", created=int(time.time()))
    signed = by.sign(payload, time.time())
    return client.post(path, content=signed.body, headers=dict(signed.headers)).status_code


@contextmanager
def calling(url: str, by: Source) -> Iterator[Counter[int]]:
    """Callbacks, one after another, for the length of the block; what was answered."""
    answers: Counter[int] = Counter()
    over = threading.Event()

    def call() -> None:
        with httpx.Client(base_url=url, trust_env=False) as client:
            while not over.is_set():
                answers[send(client, by, answers.total())] += 1

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield answers
    finally:
        over.set()
        caller.join()


def reloads(program: Running, processes: int) -> Callable[[], None]:
    """Sends SIGHUP and waits until every process has said what came of it."""

    def reload() -> None:
        before = said(program)
        os.kill(program.process.pid, signal.SIGHUP)
        until(lambda: said(program) >= before + processes)

    return reload


def said(program: Running) -> int:
    text = program.errors.read_text()
    return text.count('"event": "reloaded"') + text.count('"event": "reload_refused"')


@pytest.mark.parametrize("processes", [1, 2])
def test_keys_are_replaced_under_load(folder: Path, variables: dict[str, str], started: Start, processes: int) -> None:
    old, new = made_up("stripe"), made_up("stripe")
    assert isinstance(old["secrets"], list)
    assert isinstance(new["secrets"], list)
    both = {**old, "secrets": [*new["secrets"], *old["secrets"]]}
    (folder / "payments.py").write_text("from receiver import Receiver\n\nreceiver = Receiver()\n")
    write_sources(folder, {"shop": old})
    port = ports.free_port(0)
    command = ("serve", "payments:receiver", "--processes", processes, "--port", port, "--operator-port", 0, "--json")
    program = started(folder, *command, variables=variables)
    for _ in range(processes):
        program.read_json()
    reload, url = reloads(program, processes), f"http://127.0.0.1:{port}"
    with calling(url, source(old)) as by_old, httpx.Client(base_url=url, trust_env=False) as client:
        assert send(client, source(new), -1) == 401
        for settings in ({"shop": both}, {"shop": both, "second": new}, {"shop": both}):
            write_sources(folder, settings)
            reload()
        with calling(url, source(new)) as by_new:
            until(lambda: by_new.total() > 20)
        (folder / "receiver.toml").write_text('[sources.shop]\nprovider = "stripe"\nsecrets = ["env:NOT_THERE"]\n')
        reload()
        until(lambda: by_old.total() > 50)
    assert set(by_old) == {200}, "the old key was good all the time, and a mistake in the settings changed nothing"
    assert set(by_new) == {200}
    write_sources(folder, {"club": new})
    reload()
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert send(client, source(new), -2, "/callbacks/club") == 200, "a source that is new works at once"
        assert send(client, source(new), -3) == 404, "one that is gone is gone"
    assert program.interrupt() == 0
    text = program.errors.read_text()
    assert "the environment variable NOT_THERE is not set" in text
    assert text.count('"changed": ["shop"]') == processes, (
        "one that has not changed stays the same, with what it learnt"
    )
    assert not [secret for secret in (*old["secrets"], *new["secrets"]) if str(secret) in text]


def test_other_settings_need_a_new_start(folder: Path, variables: dict[str, str], started: Start) -> None:
    sources: Sources = {"shop": made_up("stripe")}
    (folder / "payments.py").write_text("from receiver import Receiver\n\nreceiver = Receiver()\n")
    write_sources(folder, sources)
    program = started(
        folder, "serve", "payments:receiver", "--port", 0, "--operator-port", 0, "--json", variables=variables
    )
    program.read_json()
    (folder / "receiver.toml").write_text("body_limit = 2048\n" + (folder / "receiver.toml").read_text())
    for times in (1, 2):  # it is still to do at the second
        reloads(program, 1)()
        assert program.errors.read_text().count('"needs_restart": ["body_limit"]') == times
    assert program.interrupt() == 0
