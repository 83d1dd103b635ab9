"""What it costs a route that a request is done once: a client's key, against a well-known middleware and no key.

Each way is a route of the same process, and every round holds all of them. Requests are sent one after another, so a
latency is what one request costs; the second half repeats the keys of the first, and hears stored responses.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks import load
from benchmarks.programs import free_port, program
from receiver.embedded import EmbeddedServers

_BARE = "the bare route"
_BODY = b'{"payment":"pay_29QQoUBi66xm2f","amount":50000}'
_WARM = 200


class Way(NamedTuple):
    """One kind of request."""

    name: str
    path: str
    again: bool = False
    """The keys have been used before."""


WAYS = (
    Way(_BARE, "bare"),
    Way("Idempotency-Key, new", "keyed"),
    Way("Idempotency-Key, replayed", "keyed", again=True),
    Way("asgi-idempotency-header on Redis, new", "peer"),
    Way("asgi-idempotency-header on Redis, replayed", "peer", again=True),
)


class Cost(msgspec.Struct):
    """One way: medians over the rounds."""

    name: str
    p50_ms: float
    p99_ms: float
    adds_p50_ms: float
    """To the bare route of the same round."""
    adds_p99_ms: float


def measure(servers: EmbeddedServers, *, requests: int, rounds: int, step: Callable[[str], None]) -> list[Cost]:
    """Measure on `servers`, which are migrated.

    Args:
        servers: PostgreSQL as it comes, so each commit waits for the disk.
        requests: of each way and round.
        rounds: every round holds every way, so that drift hits all alike.
        step: is told what is going on.
    """
    numbers = count()
    seen: dict[str, list[Cost]] = {way.name: [] for way in WAYS}
    with _routes(servers) as port:
        _round(port, _WARM, numbers)
        for number in range(1, rounds + 1):
            step(f"round {number} of {rounds}: requests with a key")
            for cost in _round(port, requests, numbers):
                seen[cost.name].append(cost)
    return [_median(costs) for costs in seen.values()]


def _round(port: int, requests: int, numbers: Iterator[int]) -> list[Cost]:
    keys = [f"key-{next(numbers)}" for _ in range(requests)]
    costs: list[Cost] = []
    for way in WAYS:
        run = load.run("127.0.0.1", port, _requests(way.path, keys), connections=1)
        if set(run.statuses) != {200}:
            raise RuntimeError(f"{way.name}: answers other than 200: {run.statuses}")
        p50, p99 = run.percentile(0.5), run.percentile(0.99)
        base = costs[0] if costs else Cost(way.name, p50, p99, 0, 0)
        costs.append(Cost(way.name, p50, p99, p50 - base.p50_ms, p99 - base.p99_ms))
    return costs


def _requests(path: str, keys: Sequence[str]) -> list[bytes]:
    head = f"POST /{path}/refunds HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
    return [f"{head}Idempotency-Key: {key}\r\nContent-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY for key in keys]


def _median(costs: list[Cost]) -> Cost:
    fields = ("p50_ms", "p99_ms", "adds_p50_ms", "adds_p99_ms")
    return Cost(name=costs[0].name, **{field: median(getattr(cost, field) for cost in costs) for field in fields})


@contextmanager
def _routes(servers: EmbeddedServers) -> Iterator[int]:
    """The routes as one process; its port."""
    port = free_port()
    env = {"RECEIVER_DATABASE_URL": servers.database_url, "RECEIVER_REDIS_URL": servers.redis_url}
    arguments = ["uvicorn", "benchmarks.keyed:app", "--port", str(port), "--no-access-log"]
    with program(arguments, env, port=port):
        yield port
