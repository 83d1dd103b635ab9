"""The Docker engine of this machine, the image, and a project of docker-compose.yml that lives for one test session."""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CONTAINERS
from tests.containers.project import CHECKOUT, OURS, Project, output

COPIED = {"index-url": "PIP_INDEX_URL", "extra-index-url": "PIP_EXTRA_INDEX_URL", "trusted-host": "PIP_TRUSTED_HOST"}


@pytest.fixture(scope="session")
def docker() -> str:
    """The program; an engine answers it."""
    if os.environ.get(CONTAINERS) != "1":
        pytest.skip("needs a Docker engine: run `make test-containers`")
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.fail("no Docker engine answers; start one, or set DOCKER_HOST")
    return "docker"


@pytest.fixture(scope="session")
def compose(docker: str) -> list[str]:
    """The command: Compose 2 where it is, else the program of version 1."""
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    if shutil.which("docker-compose") is None:
        pytest.fail("there is neither `docker compose` nor docker-compose")
    return ["docker-compose"]


@pytest.fixture(scope="session")
def python_image(docker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image that ours is built on; with this machine's way to a package index in it, if it has one of its own."""
    official = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)[0]
    settings = _pip_settings()
    variables = {COPIED[name]: value for name, value in settings.items() if name in COPIED}
    lines = [f"FROM {official}"]
    context = tmp_path_factory.mktemp("python-image")
    if "cert" in settings:
        shutil.copy(settings["cert"], context / "authorities.pem")
        lines.append("COPY authorities.pem /etc/authorities.pem")
        variables["PIP_CERT"] = "/etc/authorities.pem"
    if not variables:
        yield official
        return
    lines += [f"ENV {name}={json.dumps(value)}" for name, value in variables.items()]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")
    image = f"receiver-test-python:{uuid.uuid4().hex[:8]}"
    output(docker, "build", "--quiet", "--tag", image, str(context))
    yield image
    output(docker, "image", "rm", image)


def _pip_settings() -> dict[str, str]:
    """What pip is told on this machine; the environment, listed last, wins."""
    listed = output(sys.executable, "-m", "pip", "config", "list").splitlines()
    pairs = (line.partition("=") for line in listed)
    found = {name.rpartition(".")[2]: value.strip("'\"") for name, _, value in pairs}
    return {name: value for name, value in found.items() if not value.startswith("file:")}


@pytest.fixture(scope="session")
def project(compose: list[str], python_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """All of docker-compose.yml, built and up, on a free port and with volumes of its own; gone afterwards."""
    name = f"receiver-test-{uuid.uuid4().hex[:8]}"
    ours = {"image": name, "build": {"args": {"PYTHON_IMAGE": python_image}}}
    override = tmp_path_factory.mktemp("compose") / "override.json"
    override.write_text(json.dumps({"services": dict.fromkeys(OURS, ours)}))
    files = [f"--file={CHECKOUT / 'docker-compose.yml'}", f"--file={override}"]
    made = Project(name=name, command=[*compose, f"--project-name={name}", *files])
    try:
        made.compose("up", "--detach", "--build")
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout=30")
        output("docker", "image", "rm", "--force", name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty: no settings lie there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
