"""Servers for all tests: real PostgreSQL and real Valkey or Redis, found or started once per session."""

import asyncio
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import redis
import structlog
from sqlalchemy.engine import make_url

from receiver.embedded import EmbeddedServers, discard
from receiver.storage import migrate
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


LONGEST = ("test_soak.py", "test_environment.py")


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


def execute(url: str, *statements: str) -> None:
    """Run statements that stand outside transactions, such as CREATE DATABASE."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def with_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def template(servers: Servers) -> str:
    """Name of a migrated database that others are copied from: a copy takes 20 ms, a migration 300."""
    name = f"receiver_template_{os.getpid()}"
    execute(servers.database_url, f"CREATE DATABASE {name}")
    migrate.upgrade(with_database(servers.database_url, name))
    return name


@pytest.fixture(scope="session")
def make_database(servers: Servers) -> Callable[[str | None], str]:
    """Makes databases: empty, or copies of a template."""
    numbers = itertools.count(1)

    def make(template: str | None = None) -> str:
        name = f"receiver_test_{os.getpid()}_{next(numbers)}"
        # As files: neither the copy nor its removal is written to the log, which takes half as long.
        copied = f" TEMPLATE {template} STRATEGY file_copy" if template else ""
        execute(servers.database_url, f"CREATE DATABASE {name}{copied}")
        return with_database(servers.database_url, name)

    return make


@pytest.fixture
def empty_database_url(servers: Servers, make_database: Callable[[str | None], str]) -> Iterator[str]:
    """A database without our tables."""
    url = make_database(None)
    yield url
    execute(servers.database_url, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


@pytest.fixture
def database_url(servers: Servers, template: str, make_database: Callable[[str | None], str]) -> Iterator[str]:
    """A migrated database of the test's own."""
    url = make_database(template)
    yield url
    execute(servers.database_url, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


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
