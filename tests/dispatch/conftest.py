"""A small shop: a migrated database with a table that handlers write to, events owed to them, and workers."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.dispatch.content import Readers
from receiver.embedded import EmbeddedServers
from receiver.handlers import Confirmation, Registry
from receiver.settings import Settings
from receiver.storage import migrate
from receiver.storage.engine import Connection, make_engine
from receiver.storage.leases import Ask, Lease, LeaseConnection, lease_engine
from receiver.storage.wire import connect
from receiver.worker import Worker
from tests import judge
from tests.faults.oracle import violations

PROGRAM = Path(__file__).with_name("program.py")
SHIFTED = Path(__file__).parents[1] / "faults" / "shifted.py"

TABLES = """
CREATE TABLE effect (event_id uuid NOT NULL, handler text NOT NULL, note text);
CREATE TABLE outside (key text NOT NULL);
CREATE TABLE stock (id int PRIMARY KEY, count int NOT NULL CHECK (count >= 0));
INSERT INTO stock VALUES (1, 10), (2, 10);
"""

DELIVER = """
WITH stored AS (
    INSERT INTO receiver.event (id, key, source, provider, external_id, type, headers, body)
    VALUES ($1, $2, $3, 'stripe', $4, 'charge.paid', '{"webhook-id": "evt_1"}', '{"amount": 12.50}')
    RETURNING id, key
), keyed AS (
    INSERT INTO receiver.dedup_key (key, event_id) SELECT key, id FROM stored
)
INSERT INTO receiver.dispatch (event_id, handler) SELECT id, unnest($5::text[]) FROM stored
"""

READERS: Readers = {"stripe": lambda body: body.decode()}
EVERYTHING_DONE = "SELECT count(*) = 0 FROM receiver.dispatch WHERE state IN ('ready', 'waiting', 'leased')"


class Leasing(LeaseConnection):
    """Asks the same of each handler."""

    handlers: tuple[str, ...]

    async def take(self, most: int, *, suspects: bool = True) -> list[Lease]:
        claim = await self.lease({name: Ask(most, most) for name in self.handlers}, suspects=suspects)
        return list(claim.leases)


class Runs:
    """Hears of every run."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.open: dict[str, bool] = {}
        self.questions: list[tuple[str, str]] = []

    def ran(self, handler: str, outcome: str, _seconds: float) -> None:
        self.heard.append((handler, outcome))

    def circuit(self, handler: str, *, is_open: bool) -> None:
        self.open[handler] = is_open

    def asked(self, source: str, outcome: str, _seconds: float) -> None:
        self.questions.append((source, outcome))


class Shop:
    """The database of one test, and all that a test wants to ask of it."""

    def __init__(self, connection: Connection, database_url: str, redis_url: str) -> None:
        self._connection = connection
        self.database_url = database_url
        self.redis_url = redis_url
        self.runs = Runs()

    async def deliver(self, *handlers: str, source: str = "stripe") -> uuid.UUID:
        """Store an event that is owed to `handlers`."""
        event_id = uuid.uuid4()
        await self.execute(DELIVER, event_id, event_id.bytes, source, f"evt_{event_id.hex}", handlers or ("pay",))
        return event_id

    async def execute(self, sql: str, *values: object) -> None:
        await self._connection.execute(sql, *values)

    async def value(self, sql: str, *values: object) -> object:
        return await self._connection.fetchval(sql, *values)

    async def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await self._connection.fetch(sql, *values)]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """The test's own connection, in a transaction."""
        async with self._connection.transaction():
            yield self._connection

    async def until(self, sql: str, *values: object, seconds: float = 60) -> None:
        """Wait until the query says true."""
        deadline = time.monotonic() + seconds
        while not await self.value(sql, *values):
            if time.monotonic() > deadline:
                state = await self.rows("SELECT handler, state, attempts, reason FROM receiver.dispatch")
                pytest.fail(f"still not so after {seconds} s: {sql}; dispatches: {state}")
            await asyncio.sleep(0.01)

    async def until_done(self) -> None:
        """Wait until no dispatch is ready or leased."""
        await self.until(EVERYTHING_DONE)

    async def ask_oracle(self, *, dead: bool = False) -> None:
        """Nothing may be wrong once all is done.

        Args:
            dead: some may be dead by now.
        """
        await self.until_done()
        assert await violations(self.rows, (), dead=dead) == []

    async def dispatch(self, handler: str = "pay") -> tuple[object, ...]:
        """State, attempts and reason of the only dispatch of a handler."""
        (row,) = await self.rows("SELECT state, attempts, reason FROM receiver.dispatch WHERE handler = $1", handler)
        return row

    async def attempts(self, handler: str = "pay") -> list[tuple[object, ...]]:
        """Number, outcome and reason of each recorded attempt of a handler."""
        return await self.rows(
            "SELECT number, outcome, reason FROM receiver.every_attempt WHERE handler = $1 ORDER BY epoch", handler
        )

    async def effects(self) -> int:
        """How many rows the handlers have written."""
        count = await self.value("SELECT count(*) FROM effect")
        assert isinstance(count, int)
        return count

    @asynccontextmanager
    async def working(
        self,
        registry: Registry,
        *,
        redis_url: str | None = None,
        readers: Readers = READERS,
        confirmations: Mapping[str, Confirmation] | None = None,
        **settings: object,
    ) -> AsyncIterator[Worker]:
        """A worker in this process."""
        async with Worker(
            database_url=self.database_url,
            redis_url=redis_url or self.redis_url,
            registry=registry,
            readers=readers,
            settings=Settings.model_validate({"concurrency": 4, "poll_seconds": 0.2, **settings}),
            metrics=self.runs,
            confirmations=confirmations,
        ) as worker:
            yield worker

    @contextmanager
    def program(
        self,
        handler: str,
        failpoint: str = "",
        *,
        clock: float = 0,
        confirms: str = "",
        stdout: BinaryIO | None = None,
        **settings: object,
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """A worker in a process of its own, see `program.py`; killed at the end if it is not dead by then.

        Args:
            handler: names of its handlers, with commas in between.
            failpoint: where it dies.
            clock: seconds by which its clock is wrong.
            confirms: how it confirms events; empty: not at all.
            stdout: where it writes.
            settings: its own.
        """
        environment = {**os.environ, "RECEIVER_FAILPOINT": failpoint, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment |= {"OUTSIDE": self.database_url, "CONFIRMS": confirms}
        environment |= {f"RECEIVER_{name.upper()}": str(value) for name, value in settings.items()}
        shifted = [str(SHIFTED), str(clock)] if clock else []
        arguments = [sys.executable, *shifted, str(PROGRAM), self.database_url, self.redis_url, handler]
        process = subprocess.Popen(arguments, env=environment, stdout=stdout)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @asynccontextmanager
    async def leasing(self, *handlers: str, worker: str = "w1", seconds: float = 60) -> AsyncIterator["Leasing"]:
        """What a worker leases with."""
        engine = lease_engine(self.database_url)
        connection = Leasing(engine, worker=worker, seconds=seconds)
        connection.handlers = handlers or ("pay",)
        try:
            yield connection
        finally:
            await connection.close()
            await engine.dispose()

    @asynccontextmanager
    async def engine(self, **settings: str) -> AsyncIterator[AsyncEngine]:
        """What a worker runs handlers on."""
        engine = make_engine(self.database_url, name="test", size=5, settings=settings, connect=connect)
        try:
            yield engine
        finally:
            await engine.dispose()


@pytest.fixture
async def shop(database_url: str, redis_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url, redis_url) as opened:
        yield opened


@asynccontextmanager
async def open_shop(database_url: str, redis_url: str) -> AsyncIterator[Shop]:
    """A shop in which every change of a dispatch is judged, but for those that the test itself makes."""
    connection = await asyncpg.connect(database_url, server_settings=judge.SCENE)
    if not await connection.fetchval("SELECT to_regclass('effect') IS NOT NULL"):
        await connection.execute(TABLES)
        await judge.seat(connection)
    try:
        yield Shop(connection, database_url, redis_url)
    finally:
        await connection.close()
    assert await judge.verdicts(database_url) == []


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def own_servers() -> Iterator[EmbeddedServers]:
    """Servers that a test may stop."""
    folder = Path(tempfile.mkdtemp(prefix="receiver-dispatch-"))
    try:
        with EmbeddedServers(folder, postgres_settings={"fsync": "off"}) as servers:
            migrate.upgrade(servers.database_url)
            yield servers
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def own_shop(own_servers: EmbeddedServers) -> AsyncIterator[Shop]:
    async with open_shop(own_servers.database_url, own_servers.redis_url) as shop:
        yield shop
