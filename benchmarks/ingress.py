"""Durable accepts per second: one server process, the whole pipeline on, against pgbench and the tutorial."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from statistics import median

import msgspec

from benchmarks import callbacks, load, pgbench
from benchmarks.programs import Watched, free_port, program, watching
from benchmarks.sql import execute
from receiver.embedded import EmbeddedServers
from receiver.storage.engine import async_url

CONNECTIONS = 64
SHARES = {"distinct": 0.0, "50 % duplicates": 0.5, "90 % duplicates": 0.9}
_HEADERS = {"content-type": "application/json; charset=utf-8", "stripe-signature": f"t=1795380419,v1={'a' * 64}"}


class Measured(msgspec.Struct):
    """One kind of load: medians over the rounds."""

    name: str
    rate: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    to_pgbench: float
    cpu: dict[str, float]


class Ingress(msgspec.Struct):
    """All of it."""

    pgbench_rate: float
    tutorial_rate: float
    to_tutorial: float
    loads: list[Measured]


def measure(servers: EmbeddedServers, *, requests: int, rounds: int, step: Callable[[str], None]) -> Ingress:
    """Measure on `servers`, which are migrated. Every round holds every load, so that drift hits all alike."""
    base: list[float] = []
    seen: dict[str, list[Measured]] = {name: [] for name in SHARES}
    numbers = count(10_000_000, 1_000_000)
    with _server(servers) as (port, watched):
        load.run("127.0.0.1", port, callbacks.requests(range(3_000)), connections=CONNECTIONS)  # warm-up
        for number in range(1, rounds + 1):
            step(f"round {number} of {rounds}: pgbench")
            base.append(three_rows(servers))
            for name, share in SHARES.items():
                step(f"round {number} of {rounds}: {name}")
                ids = callbacks.ids(requests, duplicates=share, start=next(numbers))
                seen[name].append(_one(port, watched, name, ids, base[-1]))
    step("the tutorial's endpoint")
    tutorial = _tutorial(servers, requests // 20)
    loads = [_median(runs) for runs in seen.values()]
    return Ingress(pgbench_rate=median(base), tutorial_rate=tutorial, to_tutorial=loads[0].rate / tutorial, loads=loads)


def age(servers: EmbeddedServers, *, times: int, step: Callable[[str], None]) -> None:
    """Fill the WAL once: a new cluster makes each segment anew, which stalls commits, an aged one uses them again."""
    for number in range(1, times + 1):
        step(f"ageing the database, {number} of {times}")
        three_rows(servers)
    asyncio.run(execute(servers.database_url, "CHECKPOINT"))


def three_rows(servers: EmbeddedServers) -> float:
    """What pgbench does of the same rows, one callback per transaction."""
    variables = {"body": "\\x" + callbacks.body().hex(), "headers": msgspec.json.encode(_HEADERS).decode()}
    return pgbench.transactions_per_second(
        servers, "three_rows.sql", clients=CONNECTIONS, seconds=4, variables=variables
    )


def _one(port: int, watched: list[Watched], name: str, ids: list[int], base: float) -> Measured:
    made = callbacks.requests(ids)
    cpu: dict[str, float] = {}
    with watching(watched, cpu):
        run = load.run("127.0.0.1", port, made, connections=CONNECTIONS)
    if set(run.statuses) != {200}:
        raise RuntimeError(f"answers other than 200: {run.statuses}")
    return Measured(
        name=name,
        rate=run.rate,
        p50_ms=run.percentile(0.5),
        p99_ms=run.percentile(0.99),
        p999_ms=run.percentile(0.999),
        to_pgbench=run.rate / base,
        cpu=cpu,
    )


def _median(runs: list[Measured]) -> Measured:
    fields = ("rate", "p50_ms", "p99_ms", "p999_ms", "to_pgbench")
    return Measured(
        name=runs[0].name,
        cpu={name: median(run.cpu[name] for run in runs) for name in runs[0].cpu},
        **{field: median(getattr(run, field) for run in runs) for field in fields},
    )


@contextmanager
def _server(servers: EmbeddedServers) -> Iterator[tuple[int, list[Watched]]]:
    port = free_port()
    env = {
        "RECEIVER_DATABASE_URL": servers.database_url,
        "RECEIVER_REDIS_URL": servers.redis_url,
        "RECEIVER_PORT": str(port),
        "RECEIVER_OPERATOR_PORT": "0",
        "RECEIVER_SOURCES__STRIPE__PROVIDER": "stripe",
        "RECEIVER_SOURCES__STRIPE__SECRETS": f'["{callbacks.SECRET}"]',
    }
    with program(["receiver", "serve", "benchmarks.handlers:receiver"], env, port=port) as running:
        yield (
            port,
            [
                Watched("server", running.pid),
                Watched("postgres", servers.postgres.pid, children=True),
                Watched("valkey", servers.valkey.pid),
                Watched("load", os.getpid()),
            ],
        )


def _tutorial(servers: EmbeddedServers, requests: int) -> float:
    port = free_port()
    url = async_url(servers.database_url).render_as_string(hide_password=False)
    env = {
        "TUTORIAL_SECRET": callbacks.SECRET,
        "TUTORIAL_DATABASE_URL": url,
        "TUTORIAL_REDIS_URL": servers.redis_url,
    }
    arguments = ["uvicorn", "benchmarks.tutorial:app", "--port", str(port), "--no-access-log"]
    with program(arguments, env, port=port):
        made = callbacks.requests(range(90_000_000, 90_000_000 + requests))
        return load.run("127.0.0.1", port, made, connections=CONNECTIONS).rate
