"""How fast a queue's workers empty it: each contender is timed by this, in the same way."""

import asyncio
import math
import time
from contextlib import ExitStack

import asyncpg

from benchmarks.programs import Watched, program, watching
from benchmarks.queues import Queue
from benchmarks.sql import execute, value
from receiver.embedded import EmbeddedServers

PAID = "SELECT sum(paid)::bigint FROM public.account"
_WARM = 0.1
"""Of the jobs, before the clock starts: connections are open then, statements prepared, plans made."""
_LOOK_SECONDS = 0.05
_GIVE_UP_SECONDS = 120.0


def drain(servers: EmbeddedServers, queue: Queue, *, jobs: int, cpu: dict[str, float]) -> float:
    """Jobs per second over `jobs` that were due before; each has left its effect, and is completed.

    Raises:
        RuntimeError: they were not done in time, or not once each.
    """
    url = servers.database_url
    asyncio.run(queue.owe(url, jobs))
    # A queue that lives for days has statistics; this one is a second old.
    asyncio.run(execute(url, f"VACUUM ANALYZE {queue.table}"))
    paid = asyncio.run(value(url, PAID))
    with ExitStack() as stack:
        workers = [stack.enter_context(program(queue.arguments, queue.env, port=None)) for _ in range(queue.processes)]
        watched = [Watched(f"worker {number}", worker.pid) for number, worker in enumerate(workers, 1)]
        watched.append(Watched("postgres", servers.postgres.pid, children=True))
        rate = asyncio.run(_timed(url, queue.left, (paid, paid + jobs), watched, cpu))
    if asyncio.run(value(url, PAID)) - paid != jobs:
        raise RuntimeError(f"{queue.name}: a job left no effect, or two")
    return rate


async def _timed(url: str, left: str, effects: tuple[int, int], watched: list[Watched], cpu: dict[str, float]) -> float:
    """Jobs per second between the first tenth of the effects and the last job's completion.

    Effects are counted while the clock runs, in one table that all contenders write: to count what is left in each
    one's own would cost the one that keeps what is done several times what it costs the one that deletes it.
    """
    none, every = effects
    connection = await asyncpg.connect(url)
    try:
        begun_with = await until(connection, PAID, least=none + int((every - none) * _WARM))
        with watching(watched, cpu):
            begun = time.perf_counter()
            await until(connection, PAID, least=every)
            await until(connection, left, most=0)
            return (every - begun_with) / (time.perf_counter() - begun)
    finally:
        await connection.close()


async def until(
    connection: "asyncpg.Connection[asyncpg.Record]", query: str, *, least: int = 0, most: float = math.inf
) -> int:
    """Wait until `query` counts at least `least` and at most `most`; what it counted then.

    Raises:
        RuntimeError: it never did.
    """
    give_up = time.monotonic() + _GIVE_UP_SECONDS
    while not least <= (count := int(await connection.fetchval(query))) <= most:
        if time.monotonic() > give_up:
            raise RuntimeError(f"still {count}: {query}")
        await asyncio.sleep(_LOOK_SECONDS)
    return count
