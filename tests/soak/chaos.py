"""What goes wrong: faults drawn at random, one after another in each of several hands, until told to stop."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
import redis.asyncio
import redis.exceptions

from receiver.embedded import EmbeddedServers
from receiver.inbox.faults import UNREACHABLE
from tests.faults.relay import Relay
from tests.soak.members import Member
from tests.soak.provider import Provider

Fault = Callable[["Scene"], Awaitable[None]]
PAUSE = 1.5
"""Seconds, the most between two faults of one hand."""
SERVER_POINTS = ("verified", "before_answer")
WORKER_POINTS = ("worker_before_commit", "worker_after_commit")
LOST = (*UNREACHABLE, redis.exceptions.RedisError)
"""What a fault may meet that another one has caused."""


@dataclass(kw_only=True)
class Scene:
    """All that can be mistreated."""

    stores: EmbeddedServers
    database_url: str
    servers: Sequence[Member]
    workers: Sequence[Member]
    relays: Sequence[Relay]
    provider: Provider
    draw: random.Random
    injected: Counter[str] = field(default_factory=Counter)

    @property
    def members(self) -> list[Member]:
        """Servers and workers."""
        return [*self.servers, *self.workers]

    async def victim(self) -> Member:
        """A program that runs; not before nearly all do, or most would spend the soak starting."""
        while sum(member.runs for member in self.members) < len(self.members) - 1:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        return self.draw.choice([member for member in self.members if member.runs])

    async def execute(self, sql: str, *values: object) -> None:
        """Run a statement on a connection of its own."""
        connection = await asyncpg.connect(self.database_url, timeout=5)
        try:
            await connection.execute(sql, *values, timeout=10)
        finally:
            connection.terminate()

    async def hand(self, faults: Mapping[str, Fault], over: asyncio.Event) -> None:
        """One fault after another, each to its end, which leaves nothing broken."""
        while not over.is_set():
            name = self.draw.choice(list(faults))
            self.injected[name] += 1
            with suppress(*LOST):
                await faults[name](self)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self.draw.random() * PAUSE)


async def kill(scene: Scene) -> None:
    (await scene.victim()).kill()


async def stop(scene: Scene) -> None:
    await (await scene.victim()).stop()


async def freeze(scene: Scene) -> None:
    await (await scene.victim()).freeze(scene.draw.random() * 4)


async def die_at_a_point(scene: Scene) -> None:
    member = await scene.victim()
    member.fail_at(scene.draw.choice(SERVER_POINTS if member in scene.servers else WORKER_POINTS))


async def mistake_the_time(scene: Scene) -> None:
    """A worker's: a server that is ten minutes wrong takes no callback that is signed with the time."""
    await scene.victim()
    scene.draw.choice(scene.workers).mistake_the_time(scene.draw.choice([-600, 600]))


async def cut(scene: Scene) -> None:
    scene.draw.choice(scene.relays).cut()


async def lose_replies(scene: Scene) -> None:
    relay = scene.draw.choice(scene.relays)
    relay.losing = True
    try:
        await asyncio.sleep(scene.draw.random())
    finally:
        relay.losing = False
    await asyncio.sleep(scene.draw.random() * 3)
    relay.cut_deaf()


async def delay_replies(scene: Scene) -> None:
    relay = scene.draw.choice(scene.relays)
    relay.delay = scene.draw.random() * 0.3
    try:
        await asyncio.sleep(scene.draw.random() * 3)
    finally:
        relay.delay = 0.0


async def hold_replies(scene: Scene) -> None:
    relay = scene.draw.choice(scene.relays)
    relay.hold()
    try:
        await asyncio.sleep(scene.draw.random() * 3)
    finally:
        relay.release()


async def leave(scene: Scene) -> None:
    """Clients close in the middle."""
    scene.provider.hasty += 30


async def storm(scene: Scene) -> None:
    """One event many times at once."""
    callback = scene.provider.make()
    await asyncio.gather(*(scene.provider.deliver(callback) for _ in range(200)))
    scene.provider.submit(callback)


async def redis_down(scene: Scene) -> None:
    await asyncio.to_thread(scene.stores.valkey.kill)
    await asyncio.sleep(scene.draw.random() * 2)
    await asyncio.to_thread(scene.stores.valkey.start)


async def redis_silent(scene: Scene) -> None:
    scene.stores.valkey.freeze()
    await asyncio.sleep(scene.draw.random() * 2)
    scene.stores.valkey.thaw()


async def redis_falls_back(scene: Scene) -> None:
    """To a state that is some seconds old, as at a failover to a replica that had fallen behind."""

    async def use(client: "redis.asyncio.Redis") -> None:
        await client.save()

    await _with_redis(scene, use)
    await asyncio.sleep(scene.draw.random() * 3)
    await redis_down(scene)


async def _with_redis(scene: Scene, use: Callable[["redis.asyncio.Redis"], Awaitable[None]]) -> None:
    async with redis.asyncio.Redis.from_url(scene.stores.redis_url, socket_timeout=5) as client:
        await use(client)


async def redis_forgets(scene: Scene) -> None:
    async def use(client: "redis.asyncio.Redis") -> None:
        for _ in range(50):
            await client.flushall()

    await _with_redis(scene, use)


async def redis_slow(scene: Scene) -> None:
    async def use(client: "redis.asyncio.Redis") -> None:
        await client.client_pause(int(scene.draw.random() * 1500) + 1)

    await _with_redis(scene, use)


async def redis_full(scene: Scene) -> None:
    """It refuses, or evicts."""

    async def use(client: "redis.asyncio.Redis") -> None:
        await client.config_set("maxmemory", "2mb")
        await client.config_set("maxmemory-policy", scene.draw.choice(["noeviction", "volatile-lru"]))
        try:
            with suppress(redis.exceptions.OutOfMemoryError):
                for number in range(200):
                    await client.set(f"junk:{number}", b"x" * 10_000, ex=60)
            await asyncio.sleep(scene.draw.random() * 2)
        finally:
            await client.config_set("maxmemory", "0")
            await client.flushall()

    await _with_redis(scene, use)


async def postgres_restarts(scene: Scene) -> None:
    await asyncio.to_thread(scene.stores.postgres.stop_immediate)
    await asyncio.sleep(scene.draw.random())
    await asyncio.to_thread(scene.stores.postgres.start)


async def postgres_killed(scene: Scene) -> None:
    await asyncio.to_thread(scene.stores.postgres.kill)
    await asyncio.to_thread(scene.stores.postgres.start)


async def postgres_silent(scene: Scene) -> None:
    scene.stores.postgres.freeze()
    await asyncio.sleep(scene.draw.random() * 2)
    scene.stores.postgres.thaw()


OURS = "application_name LIKE 'receiver-%' AND datname = current_database()"


async def backend_killed(scene: Scene) -> None:
    """SIGKILL of one makes the postmaster end them all."""
    connection = await asyncpg.connect(scene.database_url, timeout=5)
    pid = await connection.fetchval(f"SELECT pid FROM pg_stat_activity WHERE {OURS} ORDER BY random() LIMIT 1")
    connection.terminate()
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def sessions_ended(scene: Scene) -> None:
    for _ in range(10):
        await scene.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS} AND random() < 0.3")
        await asyncio.sleep(scene.draw.random() * 0.2)


async def statements_cancelled(scene: Scene) -> None:
    for _ in range(10):
        await scene.execute(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {OURS} AND random() < 0.5")
        await asyncio.sleep(scene.draw.random() * 0.1)


async def table_locked(scene: Scene) -> None:
    table = scene.draw.choice(["receiver.dedup_key", "receiver.event", "receiver.dispatch", "effect", "stock"])
    seconds = scene.draw.random() * 3
    await scene.execute(f"BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE; SELECT pg_sleep({seconds:.3f}); COMMIT")


PROGRAMS: Mapping[str, Fault] = {
    "program killed": kill,
    "program told to stop": stop,
    "program frozen": freeze,
    "program dies at a crash point": die_at_a_point,
    "worker's clock wrong": mistake_the_time,
}
NETWORK: Mapping[str, Fault] = {
    "network cut": cut,
    "replies lost": lose_replies,
    "replies late": delay_replies,
    "replies held back": hold_replies,
    "clients leave": leave,
    "storm of duplicates": storm,
}
STORES: Mapping[str, Fault] = {
    "Redis down": redis_down,
    "Redis silent": redis_silent,
    "Redis falls back": redis_falls_back,
    "Redis flushed": redis_forgets,
    "Redis paused": redis_slow,
    "Redis full": redis_full,
    "PostgreSQL restarted": postgres_restarts,
    "PostgreSQL killed": postgres_killed,
    "PostgreSQL silent": postgres_silent,
    "backend killed": backend_killed,
    "sessions ended": sessions_ended,
    "statements cancelled": statements_cancelled,
    "table locked": table_locked,
}
HANDS = (PROGRAMS, NETWORK, STORES)
