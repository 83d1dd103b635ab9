"""From a callback being sent to its handler beginning: the server, the commit, the nudge, the claim, the fence.

Once more without Redis: then there is no nudge, and the poll finds what is due.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from statistics import quantiles
from typing import NamedTuple

import asyncpg
import msgspec

from benchmarks import callbacks, pace
from benchmarks.drain import until
from benchmarks.programs import free_port, program
from benchmarks.queues import environment
from benchmarks.sql import execute
from receiver.embedded import EmbeddedServers

_PREPARE = """
TRUNCATE receiver.dispatch, receiver.attempt;
CREATE TABLE public.begun (callback bigint PRIMARY KEY, at bigint NOT NULL);
"""
_FIRST = 500_000_000
"""Callback numbers that no other part uses."""
_IDLE_PER_SECOND = 20.0
"""Each has long been handled when the next one comes."""
_WARM = 200
_NO_REDIS = "redis://127.0.0.1:9/0"


class Pace(NamedTuple):
    """How callbacks are sent."""

    name: str
    per_second: float
    callbacks: int


class Latency(msgspec.Struct):
    """One pace."""

    name: str
    per_second: float
    callbacks: int
    p50_ms: float
    p99_ms: float


def measure(
    servers: EmbeddedServers, *, idle: int, flood: int, seconds: float, step: Callable[[str], None]
) -> list[Latency]:
    """Measure one server and one worker process, on the processors that they share with the load and the servers.

    `idle` callbacks one at a time; then half as many a second, for `seconds`, as both manage together when `flood`
    callbacks come as fast as they are answered. Then `idle` again with no Redis: the worker finds them by its poll.
    """
    asyncio.run(execute(servers.database_url, _PREPARE))
    numbers = count(_FIRST)
    slowly = Pace("idle", _IDLE_PER_SECOND, idle)
    with _programs(servers, servers.redis_url) as port:
        _latencies(servers, port, numbers, Pace("warm", 100.0, _WARM))
        measured = [_one(servers, port, numbers, slowly, step)]
        step("callback to handler: how much is half load")
        # All of a flood are due at once: the last one's latency is what all of them took.
        half = flood / (max(_latencies(servers, port, numbers, Pace("flood", math.inf, flood))) / 1e3) / 2
        measured.append(_one(servers, port, numbers, Pace("half load", half, int(half * seconds)), step))
    with _programs(servers, _NO_REDIS) as port:
        _latencies(servers, port, numbers, Pace("warm", 100.0, _WARM))
        measured.append(_one(servers, port, numbers, Pace("idle, no Redis", *slowly[1:]), step))
    return measured


def _one(
    servers: EmbeddedServers, port: int, numbers: Iterator[int], wanted: Pace, step: Callable[[str], None]
) -> Latency:
    step(f"callback to handler: {wanted.name}")
    cuts = quantiles(_latencies(servers, port, numbers, wanted), n=100)
    return Latency(**wanted._asdict(), p50_ms=cuts[49], p99_ms=cuts[98])


@contextmanager
def _programs(servers: EmbeddedServers, redis_url: str) -> Iterator[int]:
    """One server and one worker process, as in production; the port of the server."""
    port = free_port()
    env = {**environment(servers), "RECEIVER_PORT": str(port), "RECEIVER_REDIS_URL": redis_url}
    target = "benchmarks.timed:receiver"
    with (
        program(["receiver", "work", target], env, port=None),
        program(["receiver", "serve", target], env, port=port),
    ):
        yield port


def _latencies(servers: EmbeddedServers, port: int, numbers: Iterator[int], wanted: Pace) -> list[float]:
    """In milliseconds, of each callback."""
    ids = [next(numbers) for _ in range(wanted.callbacks)]
    due = pace.send("127.0.0.1", port, callbacks.requests(ids), per_second=wanted.per_second)
    begun = asyncio.run(_begun(servers.database_url, ids))
    return [(begun[number] - moment) / 1e6 for number, moment in zip(ids, due, strict=True)]


async def _begun(url: str, ids: list[int]) -> dict[int, int]:
    """When the handler of each callback began, once all have."""
    connection = await asyncpg.connect(url)
    mine = f"FROM public.begun WHERE callback BETWEEN {ids[0]} AND {ids[-1]}"
    try:
        await until(connection, f"SELECT {len(ids)} - count(*) {mine}", most=0)
        return {row[0]: row[1] for row in await connection.fetch(f"SELECT callback, at {mine}")}
    finally:
        await connection.close()
