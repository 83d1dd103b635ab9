"""Replays of many, as an operator sees them: looked at first, started, watched, paused, resumed, cancelled, logged."""

import asyncio
import getpass
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from receiver.cli.exits import Exit
from tests.cli.kit import Cli, Shop, Start, until
from tests.databases import Databases

STORE = """
WITH made AS (SELECT uuidv7_of(n) AS id, n FROM generate_series(1, $1::int) AS n), stored AS (
    INSERT INTO receiver.event (id, key, source, provider, external_id, type, headers, body)
    SELECT id, uuid_send(id), 'stripe', 'stripe', 'evt_' || id, $3, '{}', '{}' FROM made
)
INSERT INTO receiver.dispatch (event_id, handler, state, reason, attempts)
SELECT id, 'mark_paid', $2, 'bug', 1 FROM made
"""
ID = """
CREATE OR REPLACE FUNCTION uuidv7_of(n int) RETURNS uuid LANGUAGE sql AS $$
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '70008000'
            || substr(md5(random()::text || n), 1, 12))::uuid
$$
"""


def store(shop: Shop, count: int, *, state: str = "dead", kind: str | None = None) -> str:
    """Store events that are owed to the shop's handler; their type, which no others have."""
    kind = kind or f"test.{uuid.uuid4().hex}"

    run(shop.database_url, ID)
    run(shop.database_url, STORE, count, state, kind)
    return kind


@pytest.fixture
def clean(with_shop: Shop) -> Iterator[None]:
    """Takes away what is left, since other tests look at the same shop."""
    yield
    run(with_shop.database_url, "DELETE FROM receiver.dispatch WHERE reason = 'bug' AND state = 'dead'")


def run(url: str, sql: str, *values: object) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(sql, *values)
        await connection.close()

    asyncio.run(execute())


def test_many_are_looked_at_and_then_replayed(cli: Cli, with_shop: Shop) -> None:
    kind = store(with_shop, 12)
    filters = ("--type", kind, "--source", "stripe", "--reason", "bug", "--since", "1h")
    said = cli("replay", *filters, "--dry-run", "--json")
    assert (said.code, said.err) == (0, "")
    found = said.fields()
    assert (found["matched"], found["missing"], found["again"]) == (12, None, False)
    assert isinstance(sample := found["sample"], list)
    assert (len(sample), sample[0]["handler"], sample[0]["reason"]) == (10, "mark_paid", "bug")
    human = cli("replay", *filters, "--dry-run")
    assert len(human.out.splitlines()) == 11
    assert human.err == "12 dispatches would be run again; the first 10 are shown\n"
    assert cli("replay", *filters, "--until", "30m", "--dry-run", "--json").fields()["matched"] == 0

    said = cli("replay", *filters, "--why", "the bug is mended", "--by", "ops", "--json")
    assert (said.code, said.err) == (0, "")
    job = said.fields()
    assert (job["state"], job["matched"], job["estimated"], job["replayed"]) == ("done", 12, False, 12)
    until(lambda: len(cli("events", "list", "--type", kind, "--state", "succeeded", "--json").rows()) == 12)
    (row,) = cli("audit", "list", "--subject", job["id"], "--json").rows()
    assert (row["who"], row["action"], row["why"]) == ("ops", "replay_start", "the bug is mended")
    assert isinstance(details := row["details"], dict)
    assert (details["asked"]["type"], details["matched"]) == (kind, 12)
    assert cli("replays", "list", "--limit", 1, "--json").rows()[0]["id"] == job["id"]


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("limits", [("--since", "0001-01-01"), ("--since", "1960-01-01"), ("--until", "9999-12-31")])
def test_times_that_no_id_can_be_of_are_times(cli: Cli, with_shop: Shop, limits: tuple[str, str]) -> None:
    kind = store(with_shop, 3)
    said = cli("replay", "--type", kind, *limits, "--dry-run", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.fields()["matched"] == 3


@pytest.mark.parametrize("since", ["0001-01-01", "1960-01-01"])
def test_events_and_keys_since_before_any_id(cli: Cli, with_shop: Shop, since: str) -> None:
    kind = store(with_shop, 3, state="succeeded")
    assert len(cli("events", "list", "--type", kind, "--since", since, "--json").rows()) == 3
    said = cli("sources", "keys", "--since", since, "--json")
    assert (said.code, said.err) == (0, "")


NO_TEXT = (
    *(("replay", option, "\udcff") for option in ("--handler", "--source", "--type", "--reason")),
    ("dead", "list", "--handler", "\udcff"),
    ("events", "list", "--type", "\udcff"),
)


@pytest.mark.usefixtures("with_shop")
@pytest.mark.parametrize("arguments", NO_TEXT, ids=[" ".join(words[:-1]) for words in NO_TEXT])
def test_bytes_that_are_no_text_are_a_wrong_command_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    said = cli(*arguments)
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert said.err.startswith("receiver: usage: Invalid value: '\\udcff' holds bytes that are no text in")


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("option", ["--why", "--by"])
def test_what_the_audit_log_cannot_say_is_not_done(cli: Cli, with_shop: Shop, option: str) -> None:
    kind = store(with_shop, 1)
    said = cli("replay", "--type", kind, option, "paid \udcff")
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert said.err.startswith("receiver: usage: Invalid value: 'paid \\udcff' holds bytes that are no text in")
    assert cli("events", "list", "--type", kind, "--json").rows()[0]["state"] == "dead"


@pytest.mark.usefixtures("clean")
def test_a_replay_is_paused_resumed_and_cancelled(cli: Cli, with_shop: Shop) -> None:
    kind = store(with_shop, 100)
    said = cli("replay", "--type", kind, "--rate", 5, "--detach", "--json")
    job = str(said.fields()["id"])
    assert (said.code, said.fields()["state"]) == (0, "running")
    assert said.err == f"the replay goes on without this command: receiver replays follow|pause|cancel {job}\n"
    until(lambda: cli("replays", "show", job, "--json").fields()["replayed"] != 0)
    said = cli("replays", "pause", job, "--why", "too much")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[1].split() == ["state", "paused"]
    assert "5 per second" in said.out
    followed = cli("replays", "follow", job)
    assert followed.code == Exit.FAILED
    assert followed.out.startswith(f"replay {job} paused: ")
    assert cli("replays", "resume", job, "--json").fields()["state"] == "running"
    assert cli("replays", "cancel", job, "--json").fields()["state"] == "cancelled"
    said = cli("replays", "resume", job)
    assert (said.code, said.out) == (Exit.FAILED, "")
    assert said.err.startswith(f"receiver: replay_over: the replay {job} is cancelled")
    logged = cli("audit", "list", "--subject", job)
    assert logged.err == "4 rows\n"
    assert [line.split()[3] for line in logged.out.splitlines()[1:]] == [
        *("replay_cancel", "replay_resume", "replay_pause", "replay_start")
    ]
    assert f"{getpass.getuser()}@{socket.gethostname()}" in logged.out
    assert "too much" in logged.out
    assert job in cli("replays", "list").out


@pytest.mark.usefixtures("with_shop")
@pytest.mark.parametrize("wanted", ["x", "01980000-0000-7000-8000-000000000000"])
@pytest.mark.parametrize("word", ["show", "follow", "pause", "resume", "cancel"])
def test_a_replay_that_is_not_there_is_one_line(cli: Cli, word: str, wanted: str) -> None:
    said = cli("replays", word, wanted)
    assert (said.code, said.out) == (Exit.FAILED, "")
    assert (
        said.err == f"receiver: replay_unknown: no replay has the id {wanted!r}; `receiver replays list` shows them\n"
    )


def test_what_succeeded_is_run_again_only_if_that_is_said(cli: Cli, with_shop: Shop) -> None:
    kind = store(with_shop, 3, state="succeeded")
    arguments = ("replay", "--type", kind, "--state", "succeeded")
    looked = cli(*arguments, "--dry-run")
    assert looked.code == 0
    assert "would be there twice" in looked.err
    said = cli(*arguments)
    assert (said.code, said.out) == (Exit.FAILED, "")
    assert said.err.startswith("receiver: again_needed: what succeeded would run again: what its handler writes")
    assert "the same idempotency keys" in said.err
    unclear = cli("replay", "--type", kind, "--again")
    assert (unclear.code, unclear.out) == (Exit.USAGE, "")
    assert "--again: goes with EVENT or with --state succeeded" in unclear.err
    assert cli(*arguments, "--again", "--json").fields()["replayed"] == 3


def test_a_handler_is_owed_what_came_before_it(cli: Cli, with_shop: Shop) -> None:
    external_id = f"evt_{uuid.uuid4().hex}"
    changes = (f"--set=id={external_id}", "--set=data.object.id=late")
    assert cli("send", "stripe", "paid", "--to", with_shop.url, *changes).code == 0
    until(lambda: cli("events", "show", external_id, "--json").fields()["state"] == "succeeded")
    for table in ("dispatch", "attempt"):
        run(
            with_shop.database_url,
            f"DELETE FROM receiver.{table} USING receiver.event AS e WHERE e.id = event_id AND e.external_id = $1",
            external_id,
        )
    arguments = ("replay", "--handler", "mark_paid", "--since", "1h", "--type", "payment_intent.succeeded")
    looked = cli(*arguments, "--dry-run")
    assert "events are not owed to mark_paid: of them it gets those that it wants\n" in looked.err
    assert cli(*arguments, "--json").fields()["created"] == 1
    until(lambda: cli("events", "show", external_id, "--json").fields()["state"] == "succeeded")


def test_without_a_worker_it_says_so_and_interrupted_it_says_how_to_go_on(
    cli: Cli,
    *,
    folder: Path,
    started: Start,
    databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = databases.make_migrated()
    monkeypatch.setenv("RECEIVER_DATABASE_URL", url)
    store(Shop("", url, ""), 5)
    arguments = ("replay", "--handler", "mark_paid")
    running = started(folder, *arguments, variables={"RECEIVER_DATABASE_URL": url})
    until(lambda: "the replay waits: no worker is alive; `receiver work` starts one\n" in running.errors.read_text())
    assert running.interrupt(signal.SIGINT) == Exit.INTERRUPTED
    (job,) = cli("replays", "list", "--json").rows()
    assert (job["state"], job["replayed"]) == ("running", 0)
    assert running.errors.read_text().splitlines()[-1] == (
        f"the replay goes on without this command: receiver replays follow|pause|cancel {job['id']}"
    )
    running = started(folder, *arguments, "--since", "1h", variables={"RECEIVER_DATABASE_URL": url})
    until(lambda: "the replay waits: no live worker knows the handler mark_paid;" in running.errors.read_text())
    assert running.interrupt(signal.SIGINT) == Exit.INTERRUPTED


def test_on_a_terminal_a_bar_shows_how_far_it_is(with_shop: Shop) -> None:
    kind = store(with_shop, 7)
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "receiver", "replay", "--type", kind],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
        check=True,
    )
    os.close(theirs)
    with suppress(OSError), os.fdopen(ours, "rb") as terminal:  # read until the other end is closed
        shown = b""
        while part := terminal.read1():
            shown += part
    assert b"replaying" in shown
    assert b"7/7" in shown
    assert done.stdout.endswith(b"done: 7 replayed, 0 created, 0 skipped\n")
