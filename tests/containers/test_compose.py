"""docker-compose.yml as it stands: up from nothing, a callback in at the front and its effect out at the back."""

import os
import subprocess

import httpx
import pytest

from tests.containers.project import CHECKOUT, SECRETS, Project, output, wait_for

pytestmark = pytest.mark.containers


@pytest.mark.usefixtures("folder")
def test_a_signed_callback_is_handled_once(project: Project) -> None:
    wait_for(lambda: _answers(project.url), "the public listener answers")
    summary = project.send(count=10, duplicates=0.5)
    assert summary["statuses"] == {"200": 10}
    stored = int(project.query("SELECT count(*) FROM receiver.event"))
    assert 0 < stored < 10
    wait_for(
        lambda: project.query("SELECT count(*) FROM receiver.dispatch WHERE state = 'succeeded'") == str(stored),
        "every dispatch succeeded",
    )
    assert project.query("SELECT count(*) FROM shop.ledger") == str(stored)
    assert project.query("SELECT count(DISTINCT event_id) FROM shop.ledger") == str(stored)


def test_an_unsigned_callback_is_refused(project: Project) -> None:
    wait_for(lambda: _answers(project.url), "the public listener answers")
    before = project.query("SELECT count(*) FROM receiver.event")
    answer = httpx.post(
        f"{project.url}/callbacks/stripe", json={"id": "evt_forged", "type": "payment_intent.succeeded"}
    )
    assert answer.status_code == 401
    assert project.query("SELECT count(*) FROM receiver.event") == before


@pytest.mark.parametrize("service", ["postgres", "valkey", "serve", "work"])
def test_a_service_becomes_healthy(project: Project, service: str) -> None:
    wait_for(lambda: project.state(service, "Health.Status") == "healthy", f"{service} is healthy")


def test_the_operator_listener_is_not_published(project: Project) -> None:
    published = output("docker", "port", project.container("serve")).splitlines()
    assert [line.split(" -> ")[0] for line in published] == ["8000/tcp"]
    assert [line.split(" -> ")[1].rpartition(":")[0] for line in published] == ["127.0.0.1"]


@pytest.mark.parametrize(("command", "answer"), [("id -u", "10001"), ("command -v cc gcc || echo none", "none")])
def test_the_image_holds_no_more_than_it_needs(project: Project, command: str, answer: str) -> None:
    assert output("docker", "run", "--rm", "--entrypoint=sh", project.name, "-c", command) == answer


@pytest.mark.parametrize("secret", list(SECRETS))
def test_a_missing_secret_is_named(compose: list[str], secret: str) -> None:
    environment = {name: value for name, value in {**os.environ, **SECRETS}.items() if name != secret}
    told = subprocess.run([*compose, "config"], cwd=CHECKOUT, env=environment, capture_output=True, check=False)
    assert told.returncode != 0
    assert f"set {secret} in .env" in told.stderr.decode()


def test_a_stop_lets_the_programs_finish(project: Project) -> None:
    """Last in this file: it leaves nothing running."""
    wait_for(lambda: project.state("work", "Health.Status") == "healthy", "the worker is healthy")
    project.compose("stop", "serve", "work")
    assert [project.state(service, "ExitCode") for service in ("serve", "work")] == ["0", "0"]


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").status_code == 200
    except httpx.TransportError:
        return False
