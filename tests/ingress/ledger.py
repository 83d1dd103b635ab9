"""What Postgres and Redis hold after a test's callbacks, read past the code under test."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import redis.asyncio

TABLES = ("dedup_key", "event", "dispatch", "attempt", "quarantine")
SECONDS = 15.0


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = SECONDS) -> bool:
    """Poll until the condition holds; False if it did not in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


@dataclass(frozen=True)
class Ledger:
    """The two stores of one test."""

    database_url: str
    redis_url: str

    async def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """The rows of a query on a connection of its own."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return [tuple(row) for row in await connection.fetch(sql, *values)]
        finally:
            await connection.close()

    async def value(self, sql: str, *values: object) -> object:
        """The one value of a query."""
        return (await self.query(sql, *values))[0][0]

    async def counts(self) -> dict[str, int]:
        """Rows of each table, without those that have none."""
        sql = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM receiver.{name}" for name in TABLES)
        return {str(name): int(str(count)) for name, count in await self.query(sql) if count}

    async def stored(self) -> dict[str, int]:
        """External ids with the number of their events."""
        rows = await self.query("SELECT external_id, count(*) FROM receiver.event GROUP BY 1")
        return {str(name): int(str(count)) for name, count in rows}

    async def marks(self) -> dict[bytes, bytes]:
        """Every key in Redis, with its value."""
        async with redis.asyncio.Redis.from_url(self.redis_url) as client:
            # One may run out between the two questions.
            found = [(name, await client.get(name)) for name in await client.keys("*")]
            return {_bytes(name): _bytes(said) for name, said in found if said is not None}

    async def redis_keys(self) -> int:
        """How many keys Redis holds, of any kind."""
        async with redis.asyncio.Redis.from_url(self.redis_url) as client:
            return int(await client.dbsize())

    async def until(self, sql: str, *values: object, seconds: float = SECONDS) -> None:
        """Wait until the query says true."""

        async def said() -> bool:
            return bool(await self.value(sql, *values))

        assert await until(said, seconds), f"never true: {sql}"


def _bytes(said: object) -> bytes:
    assert isinstance(said, bytes)
    return said
