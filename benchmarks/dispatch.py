"""Handler runs per second, each with its own committed effect: ours, other queues, and pgbench's two updates."""

import asyncio
from collections.abc import Callable
from statistics import median

import msgspec

from benchmarks import pgbench
from benchmarks.drain import drain
from benchmarks.queues import CLIENTS, RECEIVER, Queue, contenders, install_peers
from benchmarks.sql import execute
from receiver.embedded import EmbeddedServers

PGBENCH = "pgbench, the same two updates"

# The callbacks of the first part are still owed: they would be run first.
PREPARE = """
TRUNCATE receiver.dispatch, receiver.attempt;
CREATE TABLE public.account (id int PRIMARY KEY, paid int NOT NULL DEFAULT 0) WITH (fillfactor = 50);
INSERT INTO public.account (id) SELECT generate_series(0, 9999);
CREATE TABLE public.pgbench_dispatch (
    id int PRIMARY KEY, state text NOT NULL DEFAULT 'leased', attempts int NOT NULL DEFAULT 0
);
INSERT INTO public.pgbench_dispatch (id) SELECT generate_series(1, 20000);
"""


class Runs(msgspec.Struct):
    """One contender: medians over the rounds."""

    name: str
    rate: float
    to_pgbench: float
    ours_to_it: float
    """Of one worker process of the receiver, as a multiple of this one."""
    cpu: dict[str, float]
    """In percent of one core."""


def measure(servers: EmbeddedServers, *, runs: int, rounds: int, step: Callable[[str], None]) -> list[Runs]:
    """Measure on `servers`, which are migrated.

    Every round holds every contender, so that drift hits all alike; every other round goes backwards.
    """
    asyncio.run(execute(servers.database_url, PREPARE))
    asyncio.run(install_peers(servers.database_url))
    queues = contenders(servers)
    rates: dict[str, list[float]] = {name: [] for name in (*(queue.name for queue in queues), PGBENCH)}
    cpu: dict[str, list[dict[str, float]]] = {name: [] for name in rates}
    for number in range(1, rounds + 1):
        # What one leaves behind, in caches and for autovacuum, the next one pays for: not always the same one.
        for queue in (*queues, None) if number % 2 else (None, *reversed(queues)):
            name = PGBENCH if queue is None else queue.name
            step(f"dispatch, round {number} of {rounds}: {name}")
            rates[name].append(_two_updates(servers) if queue is None else _one(servers, queue, runs, cpu[name]))
    return [_medians(name, rates, cpu[name]) for name in rates]


def _two_updates(servers: EmbeddedServers) -> float:
    return pgbench.transactions_per_second(servers, "two_updates.sql", clients=CLIENTS, seconds=3, variables={})


def _one(servers: EmbeddedServers, queue: Queue, runs: int, cpu: list[dict[str, float]]) -> float:
    used: dict[str, float] = {}
    rate = drain(servers, queue, jobs=int(runs * queue.share), cpu=used)
    cpu.append(used)
    return rate


def _medians(name: str, rates: dict[str, list[float]], cpu: list[dict[str, float]]) -> Runs:
    return Runs(
        name=name,
        rate=median(rates[name]),
        to_pgbench=_ratio(rates[name], rates[PGBENCH]),
        ours_to_it=_ratio(rates[RECEIVER], rates[name]),
        cpu={process: median(used[process] for used in cpu) for process in (cpu[0] if cpu else ())},
    )


def _ratio(one: list[float], other: list[float]) -> float:
    """The median of what each round's pair came to."""
    return median(mine / theirs for mine, theirs in zip(one, other, strict=True))
