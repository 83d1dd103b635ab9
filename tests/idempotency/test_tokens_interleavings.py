"""Random interleavings of use, failure, crash, lost lease, a Redis that forgets or goes back: at most one effect."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from receiver.errors import TokenError, TokenStoreUnavailable
from receiver.idempotency import Terms, TokenDesk
from receiver.idempotency.desk import WithoutRedis
from receiver.marks import Rates, Takes
from receiver.marks.client import Client, connect
from receiver.storage.engine import Connection, make_engine
from receiver.tokens import TokenSigner
from tests.databases import execute
from tests.idempotency.conftest import KEY
from tests.idempotency.merchant import EFFECT, EFFECTS

SECONDS: Final = 20.0
LEASE: Final = timedelta(minutes=10)
"""It ends when the test says so."""
WAITING: Final = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
END: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'"
STEPS: Final = st.tuples(
    st.sampled_from(
        ["use"] * 5 + ["go"] * 6 + ["fail", "crash", "crash", "lease ends", "lease ends", "forgets", "goes back"]
    ),
    st.integers(0, 3),
)


class MortalTakes(Takes):
    """Tokens as a server sees them that may be dead by now: then it says nothing to Redis any more."""

    dead = False

    async def _run(self, *script: Any) -> object:
        if self.dead:
            raise TokenStoreUnavailable("dead")
        return await super()._run(*script)


class Server:
    """One server, from its start to its death."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.takes = MortalTakes(world.client, lease=LEASE)
        rates, terms = Rates(world.client, most=1_000_000), Terms(ttl=600, longest=600, most=10)
        self.desk = TokenDesk(world.signer, self.takes, rates, terms, without_redis=world.without_redis)
        self.engine = make_engine(world.url, name=name, size=20)
        self.sessions = async_sessionmaker(self.engine.execution_options(isolation_level="READ COMMITTED"))


class Request:
    """One request, and the gate at which it stands."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.task: asyncio.Task[str]
        self.at_gate = False
        self._open = asyncio.Event()
        self._fails = False

    async def run(self, token: str) -> str:
        """What a guarded route does; how it ended."""
        try:
            async with await self.server.desk.take([token], "orders") as claim:
                await self._gate()
                async with self.server.sessions.begin() as tx:
                    await claim.once(tx)
                    await self._work(tx, claim.key)
                await self._gate()
        except TokenError as error:
            return error.reason
        except (RuntimeError, TokenStoreUnavailable):
            return "failed"
        return "done"

    async def _work(self, tx: AsyncSession, key: str) -> None:
        await tx.execute(EFFECT, {"what": key})
        await self._gate()

    async def _gate(self) -> None:
        self.at_gate = True
        await self._open.wait()
        self._open.clear()
        if self._fails:
            raise RuntimeError("as the test says")

    def go(self, *, fails: bool) -> None:
        """Let it go on, or fail where it stands."""
        self._fails, self.at_gate = fails, False
        self._open.set()


class World:
    """Two servers, one token."""

    def __init__(self, url: str, client: Client, connection: Connection, without_redis: WithoutRedis) -> None:
        self.url = url
        self.client = client
        self.without_redis = without_redis
        self.signer = TokenSigner([KEY.encode()])
        self.requests: list[Request] = []
        self.forgot = False
        self._connection = connection
        self._born = 0
        self.servers = [self._start(), self._start()]

    def _start(self) -> Server:
        self._born += 1
        return Server(self, f"server-{self._born}")

    async def issue(self) -> None:
        self.token = (await self.servers[0].desk.issue("orders")).tokens[0]
        self.nonce = self.signer.read(self.token, "orders", 0).nonce

    async def use(self, server: int) -> Request:
        """Send the token once more; goes on until it is answered, at a gate, or waiting for another one."""
        request = Request(self.servers[server])
        self.requests.append(request)
        request.task = asyncio.create_task(request.run(self.token))
        await self.settle()
        return request

    async def settle(self) -> None:
        async with asyncio.timeout(SECONDS):
            while True:
                moving = sum(not each.at_gate and not each.task.done() for each in self.requests)
                if not moving or await self._connection.fetchval(WAITING) >= moving:
                    return
                await asyncio.sleep(0)

    @property
    def open(self) -> list[Request]:
        """Requests that stand at a gate."""
        return [each for each in self.requests if each.at_gate and not each.task.done()]

    async def go(self, number: int, *, fails: bool = False) -> None:
        if waiting := self.open:
            waiting[number % len(waiting)].go(fails=fails)
        await self.settle()

    async def crash(self, number: int) -> None:
        """Kill a server with all that runs on it; another one takes its place."""
        server = self.servers[number]
        server.takes.dead = True
        await self._connection.execute(END.format(server.name))
        tasks = [each.task for each in self.requests if each.server is server and not each.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.engine.dispose()
        self.servers[number] = self._start()
        await self.settle()

    async def lease_ends(self) -> None:
        name = self._name("claim")
        claim = await self.client.get(name)
        if isinstance(claim, bytes):
            await self.client.set(name, claim.split(b"|")[0] + b"|0", keepttl=True)

    async def forgets(self) -> None:
        """Redis loses all that it has."""
        self.forgot = True
        await self.client.delete(*map(self._name, ("free", "claim", "used")))

    async def goes_back(self) -> None:
        """A stale copy of Redis takes over: in it the token is free."""
        await self.client.delete(*map(self._name, ("claim", "used")))
        await self.client.set(self._name("free"), b"", px=600_000)
        self.forgot = False

    def _name(self, state: str) -> bytes:
        return b"receiver:token:{%b}:%b" % (self.nonce.hex().encode(), state.encode())

    async def effects(self) -> int:
        return int(await self._connection.fetchval("SELECT count(*) FROM public.done"))

    async def end(self) -> None:
        for server in self.servers:
            await server.engine.dispose()


@asynccontextmanager
async def empty_world(database_url: str, redis_url: str, without_redis: WithoutRedis) -> AsyncIterator[World]:
    connection, client = await asyncpg.connect(database_url), connect(redis_url, timeout=5)
    try:
        await connection.execute("TRUNCATE receiver.once_key, public.done")
        world = World(database_url, client, connection, without_redis)
        try:
            await world.issue()
            yield world
        finally:
            await world.end()
    finally:
        await connection.close()
        await client.aclose()


async def take(world: World, name: str, number: int) -> None:
    steps: dict[str, Callable[[], Any]] = {
        "use": lambda: world.use(number % 2),
        "go": lambda: world.go(number),
        "fail": lambda: world.go(number, fails=True),
        "crash": lambda: world.crash(number % 2),
        "lease ends": world.lease_ends,
        "forgets": world.forgets,
        "goes back": world.goes_back,
    }
    await steps[name]()


async def finish(world: World) -> None:
    """Let all run to their ends; then the token has had its effect, or may have it: it is not burnt."""
    while world.open:
        await world.go(0)
    await world.lease_ends()
    before = await world.effects()
    last = await world.use(0)
    while not last.task.done():
        await world.go(0)
    lost = world.forgot and world.without_redis == "refuse"
    expected = {"token_repeated", "token_unknown"} if before else {"token_unknown" if lost else "done"}
    assert last.task.result() in expected


@pytest.mark.parametrize("without_redis", ["refuse", "accept"])
def test_at_most_one_effect_and_none_burnt(database_url: str, redis_url: str, without_redis: WithoutRedis) -> None:
    execute(database_url, EFFECTS)

    @given(st.lists(STEPS, min_size=1, max_size=12))
    @settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def play(steps: list[tuple[str, int]]) -> None:
        async def run() -> None:
            async with empty_world(database_url, redis_url, without_redis) as world:
                for step in steps:
                    await take(world, *step)
                    assert await world.effects() <= 1
                await finish(world)
                assert await world.effects() <= 1

        asyncio.run(run())

    play()
