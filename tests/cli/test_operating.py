"""Sending to a running shop, then looking at what became of it: events, dead dispatches, replays."""

import json
import re
import uuid
from pathlib import Path

import pytest

from receiver.cli.exits import Exit
from tests.cli.kit import Cli, Shop, until
from tests.databases import execute

KINDS = ("stripe", "standardwebhooks", "alipay", "wechatpay")


def own(cli: Cli, external_id: str) -> dict[str, object]:
    return cli("events", "show", external_id, "--json").fields()


def send(cli: Cli, shop: Shop, **event: str) -> str:
    """Send one payment; the provider's id of its event."""
    external_id = f"evt_{uuid.uuid4().hex}"
    changes = {"id": external_id, **event}
    said = cli(
        "send", "stripe", "paid", "--to", shop.url, *(f"--set={path}={value}" for path, value in changes.items())
    )
    assert said.code == 0, said
    return external_id


@pytest.mark.parametrize("source", KINDS)
def test_every_provider_is_answered(cli: Cli, with_shop: Shop, with_signing_sources: Path, source: str) -> None:
    assert with_signing_sources == Path.cwd()
    said = cli("send", source, "paid", "--to", with_shop.url, "--count", 10, "--concurrency", 4, "--json")
    summary = said.fields()
    assert (said.code, said.err) == (0, "")
    assert (summary["sent"], summary["succeeded"]) == (10, 10)
    assert isinstance(latency := summary["latency_ms"], dict)
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


def test_duplicates_are_sent_again_and_counted(cli: Cli, with_shop: Shop) -> None:
    entity = f"order-{uuid.uuid4().hex}"
    arguments = ("--count", 20, "--duplicates", 0.5, "--set", f"data.object.id={entity}", "--json")
    assert cli("send", "stripe", "failed", "--to", with_shop.url, *arguments).fields()["statuses"] == {"200": 20}

    def stored() -> list[dict[str, object]]:
        rows = cli("events", "list", "--source", "stripe", "--type", "payment_intent.payment_failed", "--json").rows()
        return [row for row in rows if row["entity_id"] == entity]

    until(lambda: sum(int(str(row["duplicates"])) for row in stored()) == 10)
    assert len(stored()) == 10
    assert {row["state"] for row in stored()} == {"unhandled"}


def test_a_list_has_what_it_promises(cli: Cli, with_shop: Shop) -> None:
    external_id = send(cli, with_shop, **{"data.object.id": "listed"})
    until(lambda: own(cli, external_id)["state"] == "succeeded")
    said = cli("events", "list", "--json")
    assert said.err == ""
    row = next(row for row in said.rows() if row["external_id"] == external_id)
    assert {name: row[name] for name in ("source", "provider", "type", "entity_id", "state", "duplicates")} == {
        "source": "stripe",
        "provider": "stripe",
        "type": "payment_intent.succeeded",
        "entity_id": "listed",
        "state": "succeeded",
        "duplicates": 0,
    }
    assert uuid.UUID(str(row["id"])).version == 7
    assert str(row["received_at"]).startswith("20")
    human = cli("events", "list", "--limit", 1)
    assert human.out.splitlines()[0].split()[:3] == ["ID", "RECEIVED", "SOURCE"]
    assert len(human.out.splitlines()) == 2
    assert human.err == "1 events, more with --limit\n"


def test_an_event_shows_every_run_of_every_handler(cli: Cli, with_shop: Shop) -> None:
    external_id = send(cli, with_shop, **{"data.object.id": "late"})
    until(lambda: own(cli, external_id)["state"] == "succeeded")
    event = own(cli, external_id)
    assert own(cli, str(event["id"])) == event
    (dispatch,) = json.loads(json.dumps(event["dispatches"]))
    assert (dispatch["handler"], dispatch["state"], dispatch["attempts"]) == ("mark_paid", "succeeded", 2)
    runs = [(run["number"], run["outcome"], run["reason"], run["trigger"]) for run in dispatch["outcomes"]]
    assert runs == [(1, "retry", "too_early", "scheduled"), (2, "succeeded", None, "scheduled")]
    human = cli("events", "show", external_id)
    assert (human.code, human.err) == (0, "")
    assert "mark_paid  succeeded" in human.out
    assert "run 1  retry in" in human.out
    assert "run 2  succeeded in" in human.out


def test_the_body_is_shown_to_whoever_asks(cli: Cli, with_shop: Shop) -> None:
    external_id = send(cli, with_shop)
    assert "body" not in own(cli, external_id)
    assert external_id not in cli("events", "show", external_id).out.partition("state")[2]
    shown = cli("events", "show", external_id, "--body")
    assert json.loads(shown.out[shown.out.index("{") :])["id"] == external_id
    assert "body" in cli("events", "show", external_id, "--body", "--json").fields()


def test_what_died_is_listed_and_replayed(cli: Cli, with_shop: Shop) -> None:
    external_id = send(cli, with_shop, **{"data.object.id": "doomed"})
    until(lambda: own(cli, external_id)["state"] == "dead")
    event_id = own(cli, external_id)["id"]
    (row,) = [row for row in cli("dead", "list", "--json").rows() if row["id"] == event_id]
    assert (row["handler"], row["reason"], row["attempts"]) == ("mark_paid", "no_such_order", 1)
    assert [row["id"] for row in cli("events", "list", "--state", "dead", "--json").rows()].count(event_id) == 1
    human = cli("dead", "list", "--handler", "mark_paid")
    assert str(event_id) in human.out
    assert human.err.endswith("dead dispatches\n")

    said = cli("replay", external_id, "--dry-run")
    assert (said.code, said.out) == (0, "1 dispatches would be due again: mark_paid\n")
    assert own(cli, external_id)["state"] == "dead"
    said = cli("replay", external_id, "--json")
    assert (said.code, said.fields()) == (
        0,
        {"replayed": 1, "handlers": ["mark_paid"], "succeeded": []},
    )
    until(lambda: len(_runs(own(cli, external_id))) == 2)
    assert [run["trigger"] for run in _runs(own(cli, external_id))] == ["scheduled", "manual"]

    until(lambda: own(cli, external_id)["state"] == "dead")
    said = cli("replay", "--handler", "mark_paid")
    assert (said.code, said.err) == (0, "")
    assert re.fullmatch(r"replay [0-9a-f-]{36} done: \d+ replayed, 0 created, 0 skipped\n", said.out)
    until(lambda: len(_runs(own(cli, external_id))) == 3)


def _runs(event: dict[str, object]) -> list[dict[str, object]]:
    dispatches = event["dispatches"]
    assert isinstance(dispatches, list)
    return [run for dispatch in dispatches for run in dispatch["outcomes"]]


def test_replaying_what_is_not_dead_fails(cli: Cli, with_shop: Shop) -> None:
    external_id = send(cli, with_shop)
    until(lambda: own(cli, external_id)["state"] == "succeeded")
    said = cli("replay", external_id)
    assert (said.code, said.out) == (Exit.FAILED, "")
    assert said.err.startswith("receiver: again_needed: mark_paid: what succeeded would run again: ")
    said = cli("replay", "--handler", "nobody")
    assert (said.code, said.out) == (Exit.FAILED, "")
    assert said.err == (
        "receiver: nothing_to_replay: nothing fits;"
        " `receiver dead list` and `receiver events list` show what is there\n"
    )


@pytest.mark.usefixtures("with_shop")
@pytest.mark.parametrize(
    "wanted", ["evt_of_nobody", "3fa75934-33cd-45f7-9003-0e159d443cb5", "'; DROP TABLE receiver.event; --", "\x1b[31m"]
)
@pytest.mark.parametrize("command", [["events", "show"], ["replay"]], ids=" ".join)
def test_an_event_that_is_not_there_is_one_line(cli: Cli, command: list[str], wanted: str) -> None:
    said = cli(*command, "--", wanted)
    assert (said.code, said.out) == (Exit.FAILED, "")
    assert said.err.startswith(f"receiver: event_unknown: no event has the id {wanted!r}")
    assert "\x1b" not in said.err


def test_one_id_at_two_sources_is_not_guessed(cli: Cli, with_shop: Shop, with_sources: Path) -> None:
    external_id = send(cli, with_shop)
    data = with_sources / "payload.json"
    data.write_text(json.dumps({"id": external_id, "type": "payment.succeeded", "data": {"id": "{entity}"}}))
    arguments = ("--data", data, "--count", 2, "--concurrency", 1, "--to", with_shop.url, "--json")
    assert cli("send", "standardwebhooks", "mine", *arguments).fields()["statuses"] == {"204": 2}
    said = cli("events", "show", external_id)
    assert said.code == Exit.FAILED
    assert said.err.startswith(f"receiver: event_unknown: several events have the id {external_id!r}; name one by its")
    assert "(stripe)" in said.err
    assert "(standardwebhooks)" in said.err


def test_rejected_callbacks_fail_the_command(cli: Cli, with_shop: Shop, with_sources: Path) -> None:
    (with_sources / "receiver.toml").write_text('[sources.stripe]\nprovider = "stripe"\nsecrets = ["whsec_other"]\n')
    said = cli("send", "stripe", "paid", "--to", with_shop.url, "--count", 3, "--json")
    assert said.code == Exit.FAILED
    assert (said.fields()["succeeded"], said.fields()["statuses"]) == (0, {"401": 3})


@pytest.mark.usefixtures("with_sources")
def test_where_nobody_listens_the_error_is_counted(cli: Cli) -> None:
    said = cli("send", "stripe", "paid", "--to", "http://127.0.0.1:1", "--count", 2)
    assert said.code == Exit.FAILED
    assert said.out.splitlines()[1].split() == ["ConnectError", "2"]


def test_a_rate_is_kept(cli: Cli, with_shop: Shop) -> None:
    said = cli("send", "stripe", "failed", "--to", with_shop.url, "--count", 11, "--rate", 20, "--json")
    assert float(str(said.fields()["seconds"])) >= 0.5


def test_the_workers_are_listed(cli: Cli, with_shop: Shop) -> None:
    until(lambda: bool(cli("workers", "list", "--json").rows()))
    (row,) = cli("workers", "list", "--json").rows()
    assert (row["state"], row["concurrency"], row["handlers"], row["circuits"]) == ("running", 16, ["mark_paid"], [])
    circuit = (
        '[{"handler": "mark_\\u001b[31mpaid", "since": "2025-01-31T12:00:00Z", "probe_at": "2025-01-31T12:00:30Z"}]'
    )
    execute(
        with_shop.database_url,
        "INSERT INTO receiver.worker VALUES"
        f" ('one', 'h', 1, 'v', now() - interval '2 days', now(), 'running', 4, 3, '{{x,y}}', '{circuit}'),"
        f" ('two', 'h', 1, 'v', now() - interval '1 day', now() - interval '1 minute', 'running', 4, 3, '{{}}', '[]')",
    )
    said = cli("workers", "list")
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[1][:5] == ["one", "h", "v", "running", "3/4"]
    assert rows[1][-2:] == ["x,", "y"]
    assert rows[2][3] == "lost"
    assert rows[-1] == ["mark_\\x1b[31mpaid", "one", "2025-01-31", "12:00:00Z", "2025-01-31", "12:00:30Z"]
    assert said.err == "3 workers, 2 of them running\n"
    found = cli("workers", "list", "--json").rows()[0]
    assert found["circuits"] == json.loads(circuit)
    execute(with_shop.database_url, "DELETE FROM receiver.worker WHERE host = 'h'")
