"""Two servers of a shop with keys in one process: their requests stop at gates, and they die when the test says so."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import asyncpg
import httpx
from fastapi import FastAPI, Header
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from receiver.errors import StoreUnavailable
from receiver.idempotency.keys.header import digest
from receiver.idempotency.keys.key import IdempotencyKey
from receiver.idempotency.keys.mark import Keyed, mark
from receiver.idempotency.keys.routes import guard_routes
from receiver.storage.engine import Connection, make_engine
from receiver.storage.keyed import KeyStore, Standing, Wanted, key_engine
from tests.idempotency.refunds import EFFECT

SECONDS: Final = 20.0
WAYS: Final = ("once", "both", "answer")
"""By the number of a client's key."""
KEYED: Final = Keyed(
    scope="refunds",
    required=True,
    caller=None,
    retention=dt.timedelta(hours=1),
    lease=dt.timedelta(minutes=10),  # it ends when the test says so
    body_limit=1000,
    response_limit=1000,
)
WAITING: Final = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
END: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
# What an open transaction has locked is left as it is: nobody waits for a gate here.
LEASES: Final = """
UPDATE receiver.idempotency_key SET leased_until = now() WHERE key IN (
    SELECT key FROM receiver.idempotency_key WHERE status IS NULL FOR UPDATE SKIP LOCKED
)
"""
RETENTION: Final = """
UPDATE receiver.idempotency_key SET expires_at = now() WHERE key IN (
    SELECT key FROM receiver.idempotency_key WHERE key = $1 FOR UPDATE SKIP LOCKED
)
"""


class Asked:
    """One request, and the gate at which it stands."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.task: asyncio.Task[httpx.Response | None]
        self.at_gate = False
        self._open = asyncio.Event()
        self._fails = False

    async def gate(self) -> None:
        """Stand here until the test lets it go on, or fail."""
        self.at_gate = True
        await self._open.wait()
        self._open.clear()
        self.at_gate = False
        if self._fails:
            raise RuntimeError("as the test says")

    def go(self, *, fails: bool) -> None:
        self._fails = fails
        self.at_gate = False
        self._open.set()


class MortalStore(KeyStore):
    """The keys as a server sees them that may be dead by now: then it says nothing to Postgres any more."""

    dead = False

    async def claim(self, wanted: Wanted) -> Standing:
        self._live()
        return await super().claim(wanted)

    async def _execute(self, statement: str, *values: object) -> str:
        self._live()
        return await super()._execute(statement, *values)

    def _live(self) -> None:
        if self.dead:
            raise StoreUnavailable("dead")


class Server:
    """One server, from its start to its death."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        keys = key_engine(world.url, size=4)
        self.store = MortalStore(keys, size=4)
        self.engine: AsyncEngine = make_engine(world.url, name=name, size=20)
        self.sessions = async_sessionmaker(self.engine.execution_options(isolation_level="READ COMMITTED"))
        self.app = FastAPI()
        self.app.post("/refunds/{way}", status_code=201)(mark(KEYED, self._route()))
        guard_routes(self.app.routes, self, [])

    def key_store(self) -> KeyStore:
        return self.store

    def _route(self) -> Callable[..., Awaitable[object]]:
        async def refund(way: str, key: IdempotencyKey, x_asked: Annotated[int, Header()]) -> object:
            asked = self.world.asked[x_asked]
            answer: object = {"run": x_asked}
            await asked.gate()
            async with self.sessions.begin() as tx:
                answer = await self._work(tx, way, key, answer)
                await asked.gate()
            await asked.gate()
            return answer

        return refund

    async def _work(self, tx: AsyncSession, way: str, key: IdempotencyKey, answer: object) -> object:
        if way != "answer":
            await key.once(tx)
        await tx.execute(EFFECT, {"key": key.text, "way": way})
        return await key.answer(tx, answer, 201) if way != "once" else answer

    async def post(self, key: int, body: int, number: int) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            headers = {"Idempotency-Key": str(key), "X-Asked": str(number)}
            return await client.post(f"/refunds/{WAYS[key]}", content=b"x" * body, headers=headers)

    async def end(self) -> None:
        await self.store.close()
        await self.engine.dispose()


class World:
    """All of it.

    Args:
        url: of the database.
        connection: of the test's own.
    """

    def __init__(self, url: str, connection: Connection) -> None:
        self.url = url
        self.connection = connection
        self.asked: list[Asked] = []
        self.heard: dict[int, set[bytes]] = {key: set() for key in range(len(WAYS))}
        """By key: the contents of every 201."""
        self.aged: set[int] = set()
        """Keys whose retention has ended at some time."""
        self._born = 0
        self._by_server: dict[Asked, Server] = {}
        self.servers = [self._start(), self._start()]

    def _start(self) -> Server:
        self._born += 1
        return Server(self, f"server-{self._born}")

    async def ask(self, server: int, key: int, body: int) -> Asked:
        """Send a request; it goes on until it is answered, at a gate, or waiting for another one."""
        asked = Asked(key)
        self.asked.append(asked)
        chosen = self.servers[server]
        self._by_server[asked] = chosen
        asked.task = asyncio.create_task(self._hear(chosen, asked, body, len(self.asked) - 1))
        await self.settle()
        return asked

    async def _hear(self, server: Server, asked: Asked, body: int, number: int) -> httpx.Response | None:
        try:
            reply = await server.post(asked.key, body, number)
        except asyncio.CancelledError:
            return None
        if reply.status_code == 201:
            self.heard[asked.key].add(reply.content)
        return reply

    @property
    def open(self) -> list[Asked]:
        """Requests that stand at a gate."""
        return [asked for asked in self.asked if asked.at_gate and not asked.task.done()]

    async def settle(self) -> None:
        """Wait until each request is answered, at a gate, or waits for the transaction of one that is."""
        async with asyncio.timeout(SECONDS):
            while True:
                moving = sum(not asked.at_gate and not asked.task.done() for asked in self.asked)
                if await self.connection.fetchval(WAITING) >= moving:
                    return

    async def go(self, number: int, *, fails: bool = False) -> None:
        """Let one that stands at a gate go on, or fail there."""
        if waiting := self.open:
            waiting[number % len(waiting)].go(fails=fails)
        await self.settle()

    async def crash(self, number: int) -> None:
        """Kill a server with all that runs on it; another one takes its place."""
        server = self.servers[number]
        server.store.dead = True
        await self.connection.execute(END.replace("$1", f"'{server.name}'"))
        tasks = [asked.task for asked in self.asked if self._by_server[asked] is server and not asked.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await server.end()
        self.servers[number] = self._start()
        await self.settle()

    async def lease_ends(self) -> None:
        """As if every server had been frozen for long."""
        await self.connection.execute(LEASES)

    async def retention_ends(self, key: int) -> None:
        self.aged.add(key)
        await self.connection.execute(RETENTION, digest(KEYED.scope, None, str(key)))

    async def remove(self) -> None:
        await self.servers[0].store.remove_expired(most=1)

    async def effects(self) -> dict[int, int]:
        rows = await self.connection.fetch("SELECT key::int, count(*) FROM public.refund GROUP BY 1")
        return {row[0]: row[1] for row in rows}

    async def end(self) -> None:
        for server in self.servers:
            await server.end()


async def in_world(url: str, play: Callable[[World], Awaitable[Any]]) -> None:
    """Play in an empty world."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("TRUNCATE receiver.idempotency_key, receiver.once_key, public.refund")
        world = World(url, connection)
        try:
            await play(world)
        finally:
            await world.end()
    finally:
        await connection.close()
