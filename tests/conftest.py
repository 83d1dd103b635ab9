"""Servers for all tests: real PostgreSQL and real Valkey or Redis, found or started once per session."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import structlog
from sqlalchemy.engine import make_url

from receiver.embedded import EmbeddedServers, discard
from tests.databases import Databases
from tests.nats_server import NatsServer, nats_server

DATABASE = "RECEIVER_TEST_DATABASE_URL"
REDIS = "RECEIVER_TEST_REDIS_URL"
CONTAINERS = "RECEIVER_TEST_CONTAINERS"
LOGICAL_DATABASES = 16


@dataclass(frozen=True)
class Servers:
    """Where this session's servers are, and what they are."""

    kind: str
    database_url: str
    redis_url: str


LONGEST = (
    "test_blocks.py",
    "test_faults.py",
    "test_misbehaving.py",
    "test_made.py",
    "test_keys_crashes.py",
    "test_environment.py",
    "test_soak.py",
    "test_interleavings.py",
    "test_programs.py",
)
"""Files that take the longest."""


def choice() -> str:
    """Given URLs, else containers where asked for, else the embedded servers."""
    if DATABASE in os.environ and REDIS in os.environ:
        return "given URLs"
    return "containers" if os.environ.get(CONTAINERS) == "1" else "embedded"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files begin first: begun last, one worker would wait for another."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_report_header() -> str:
    return f"servers: {choice()}"


@pytest.fixture(autouse=True)
def _same_logs() -> Iterator[None]:
    """A command that is run in this process sets up logging for itself: the next test must not be deaf for that."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The loop of asyncio itself: uvloop's, on which the programs run, was seen to hang when a test closes it."""
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Valkey or Redis of this session."""
    kind = choice()
    if kind == "given URLs":
        yield Servers(kind, os.environ[DATABASE], os.environ[REDIS])
    elif kind == "containers":
        yield from _containers()
    else:
        # Killing a process loses nothing that reached the kernel, so fsync would only cost time here.
        folder = Path(tempfile.mkdtemp(prefix="receiver-tests-"))
        try:
            with EmbeddedServers(folder, postgres_settings={"fsync": "off", "max_connections": "200"}) as embedded:
                yield Servers(kind, embedded.database_url, embedded.redis_url)
        finally:
            discard(folder)


def _containers() -> Iterator[Servers]:
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415  needs a Docker engine to be of use
    from testcontainers.community.redis import RedisContainer  # noqa: PLC0415

    with PostgresContainer("postgres:17", driver=None) as postgres, RedisContainer("valkey/valkey:8") as valkey:
        address = f"redis://{valkey.get_container_host_ip()}:{valkey.get_exposed_port(6379)}/0"
        yield Servers("containers", postgres.get_connection_url(), address)


@pytest.fixture(scope="session")
def databases(servers: Servers) -> Databases:
    """Makes databases on this session's server."""
    return Databases(servers.database_url)


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """A database without our tables."""
    url = databases.make()
    yield url
    databases.drop(url)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A migrated database, of the test's own while it runs."""
    url = databases.make_migrated()
    yield url
    databases.give_back(url)


_numbers = itertools.cycle(range(LOGICAL_DATABASES))


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty logical database of the session's Valkey or Redis."""
    url = make_url(servers.redis_url).set(database=str(next(_numbers))).render_as_string(hide_password=False)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS server with JetStream, started for the first test that asks for it."""
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def nats_url(nats: NatsServer) -> str:
    """The session's NATS server, without streams."""
    nats.clear()
    return nats.url
