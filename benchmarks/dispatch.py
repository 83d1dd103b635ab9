"""Handler runs per second, each with its own committed effect, against pgbench doing the same two updates."""

import asyncio
import time
from collections.abc import Callable
from statistics import median

import asyncpg
import msgspec

from benchmarks import callbacks, pgbench
from benchmarks.programs import Watched, program, watching
from receiver.embedded import EmbeddedServers

CLIENTS = 16
_GIVE_UP_SECONDS = 120.0

# The callbacks of the first part are still owed: they would be run first.
PREPARE = """
TRUNCATE receiver.dispatch, receiver.attempt;
CREATE TABLE IF NOT EXISTS public.account (id int PRIMARY KEY, paid int NOT NULL DEFAULT 0) WITH (fillfactor = 50);
INSERT INTO public.account (id) SELECT generate_series(0, 9999) ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS public.pgbench_dispatch (
    id int PRIMARY KEY, state text NOT NULL DEFAULT 'leased', attempts int NOT NULL DEFAULT 0
);
INSERT INTO public.pgbench_dispatch (id) SELECT generate_series(1, 20000) ON CONFLICT DO NOTHING;
"""
# Due rows as ingress leaves them, made at once: what is measured is the worker, not the way in.
OWED = """
WITH made AS (
    SELECT uuidv7() AS id, 'evt_' || lpad((n % 10000)::text, 20, '0') AS external_id
    FROM generate_series(1, $1::int) n
), stored AS (
    INSERT INTO receiver.event (id, key, source, provider, external_id, type, headers, body)
    SELECT id, uuid_send(id), 'stripe', 'stripe', external_id, 'payment_intent.succeeded', '{}', $2 FROM made
)
INSERT INTO receiver.dispatch (event_id, handler) SELECT id, 'mark_paid' FROM made
"""
LEFT = "SELECT count(*) FROM receiver.dispatch WHERE state IN ('ready', 'leased')"
PAID = "SELECT sum(paid)::bigint FROM public.account"


class Dispatch(msgspec.Struct):
    """Medians over the rounds."""

    rate: float
    pgbench_rate: float
    to_pgbench: float
    cpu: dict[str, float]


def measure(servers: EmbeddedServers, *, runs: int, rounds: int, step: Callable[[str], None]) -> Dispatch:
    """Measure one worker process on `servers`, which are migrated."""
    asyncio.run(execute(servers.database_url, PREPARE))
    ours, base = [], []
    cpu: dict[str, float] = {}
    for number in range(1, rounds + 1):
        step(f"dispatch, round {number} of {rounds}: pgbench")
        base.append(
            pgbench.transactions_per_second(servers, "two_updates.sql", clients=CLIENTS, seconds=3, variables={})
        )
        step(f"dispatch, round {number} of {rounds}: handlers")
        ours.append(_drain(servers, runs, cpu))
    ratios = [mine / theirs for mine, theirs in zip(ours, base, strict=True)]
    return Dispatch(rate=median(ours), pgbench_rate=median(base), to_pgbench=median(ratios), cpu=cpu)


def _drain(servers: EmbeddedServers, runs: int, cpu: dict[str, float]) -> float:
    """Runs per second of one worker over `runs` due dispatches; each has left its effect when this returns."""
    body = callbacks.requests([1])[0].partition(b"\r\n\r\n")[2]
    url = servers.database_url
    asyncio.run(execute(url, OWED, runs, body))
    paid = asyncio.run(_value(url, PAID))
    env = {
        "RECEIVER_DATABASE_URL": url,
        "RECEIVER_REDIS_URL": servers.redis_url,
        "RECEIVER_OPERATOR_PORT": "0",
        "RECEIVER_CONCURRENCY": str(CLIENTS),
        "RECEIVER_SOURCES__STRIPE__PROVIDER": "stripe",
        "RECEIVER_SOURCES__STRIPE__SECRETS": f'["{callbacks.SECRET}"]',
    }
    with program(["receiver", "work", "benchmarks.handlers:receiver"], env, port=None) as running:
        watched = [Watched("worker", running.pid), Watched("postgres", servers.postgres.pid, children=True)]
        asyncio.run(_until(url, runs - 1))  # started
        with watching(watched, cpu):
            begun, left = time.perf_counter(), asyncio.run(_value(url, LEFT))
            asyncio.run(_until(url, 0))
            elapsed = time.perf_counter() - begun
    if asyncio.run(_value(url, PAID)) - paid != runs:
        raise RuntimeError("a run left no effect, or two")
    return left / elapsed


async def _until(url: str, most: int) -> None:
    connection = await asyncpg.connect(url)
    give_up = time.monotonic() + _GIVE_UP_SECONDS
    try:
        while await connection.fetchval(LEFT) > most:
            if time.monotonic() > give_up:
                raise RuntimeError("the worker did not finish in time")
            await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def execute(url: str, statement: str, *arguments: object) -> None:
    """Run a statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def _value(url: str, statement: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(statement))
    finally:
        await connection.close()
