"""What it costs a route that a request is done once: a client's key or a token, a well-known middleware, and neither.

Each way is a route of the same process, and every round holds all of them. Over one connection, requests are sent one
after another: a latency is what one request costs. Some ways repeat what the way before has sent, and hear stored
responses.
"""

import secrets
import urllib.request
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
_SCOPE = "refunds"
_BATCH = 100
"""Tokens that one request asks for, at most."""
_CONNECTIONS = (1, 16)
_BODY = b'{"payment":"pay_29QQoUBi66xm2f","amount":50000}'
_WARM = 200


class Way(NamedTuple):
    """One kind of request."""

    name: str
    path: str


WAYS = (
    Way(_BARE, "bare"),
    Way("Idempotency-Key, new", "keyed"),
    Way("Idempotency-Key, replayed", "keyed"),
    Way("asgi-idempotency-header on Redis, new", "peer"),
    Way("asgi-idempotency-header on Redis, replayed", "peer"),
    Way("issued token", "tokened"),
)
ASKED = (1, _BATCH)
"""Tokens that a request asks for."""


class Cost(msgspec.Struct):
    """One way: medians over the rounds."""

    name: str
    connections: int
    p50_ms: float
    p99_ms: float
    adds_p50_ms: float
    """To the bare route of the same round."""
    adds_p99_ms: float


class Issuing(msgspec.Struct):
    """Tokens issued, by one server process: the median over the rounds."""

    asked: int
    """Of each request."""
    per_second: float


def measure(
    servers: EmbeddedServers, *, requests: int, rounds: int, step: Callable[[str], None]
) -> tuple[list[Cost], list[Issuing]]:
    """Measure on `servers`, which are migrated.

    Args:
        servers: PostgreSQL as it comes, so each commit waits for the disk.
        requests: of each way, number of connections and round.
        rounds: every round holds every way, so that drift hits all alike.
        step: is told what is going on.
    """
    numbers = count()
    seen: dict[tuple[str, int], list[Cost]] = {}
    issued: dict[int, list[float]] = {asked: [] for asked in ASKED}
    with _routes(servers) as port:
        _round(port, _WARM, numbers, 1)
        for number in range(1, rounds + 1):
            for connections in _CONNECTIONS:
                step(f"round {number} of {rounds}: requests that are to be done once, {connections} at a time")
                for cost in _round(port, requests, numbers, connections):
                    seen.setdefault((cost.name, connections), []).append(cost)
            step(f"round {number} of {rounds}: tokens")
            for asked, rates in issued.items():
                rates.append(_issue(port, asked, requests))
    return (
        [_median(costs) for costs in seen.values()],
        [Issuing(asked=asked, per_second=median(rates)) for asked, rates in issued.items()],
    )


def _round(port: int, requests: int, numbers: Iterator[int], connections: int) -> list[Cost]:
    keys = [f"key-{next(numbers)}" for _ in range(requests)]
    tokens = _tokens(port, requests)
    costs: list[Cost] = []
    for way in WAYS:
        sent = _requests(way.path, keys, tokens)
        run = load.run("127.0.0.1", port, sent, connections=connections)
        if set(run.statuses) != {200}:
            raise RuntimeError(f"{way.name}: answers other than 200: {run.statuses}")
        p50, p99 = run.percentile(0.5), run.percentile(0.99)
        base = costs[0] if costs else Cost(way.name, connections, p50, p99, 0, 0)
        costs.append(Cost(way.name, connections, p50, p99, p50 - base.p50_ms, p99 - base.p99_ms))
    return costs


def _issue(port: int, asked: int, requests: int) -> float:
    """Tokens per second."""
    body = _wanted(asked)
    head = f"POST /tokens HTTP/1.1\r\nHost: shop\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    run = load.run("127.0.0.1", port, [head + body] * requests, connections=_CONNECTIONS[-1])
    if set(run.statuses) != {201}:
        raise RuntimeError(f"tokens: answers other than 201: {run.statuses}")
    return run.rate * asked


def _tokens(port: int, number: int) -> list[str]:
    tokens: list[str] = []
    while len(tokens) < number:
        wanted = urllib.request.Request(f"http://127.0.0.1:{port}/tokens", _wanted(_BATCH))
        with urllib.request.urlopen(wanted, timeout=30) as reply:
            tokens += msgspec.json.decode(reply.read())["tokens"]
    return tokens[:number]


def _wanted(asked: int) -> bytes:
    return msgspec.json.encode({"scope": _SCOPE, "count": asked})


def _requests(path: str, keys: Sequence[str], tokens: Sequence[str]) -> list[bytes]:
    """With a key and a token each; a route reads what it asks for."""
    head = f"POST /{path}/refunds HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
    return [
        f"{head}Idempotency-Key: {key}\r\nIdempotency-Token: {token}\r\nContent-Length: {len(_BODY)}\r\n\r\n".encode()
        + _BODY
        for key, token in zip(keys, tokens, strict=True)
    ]


def _median(costs: list[Cost]) -> Cost:
    fields = ("p50_ms", "p99_ms", "adds_p50_ms", "adds_p99_ms")
    medians = {field: median(getattr(cost, field) for cost in costs) for field in fields}
    return Cost(name=costs[0].name, connections=costs[0].connections, **medians)


@contextmanager
def _routes(servers: EmbeddedServers) -> Iterator[int]:
    """The routes as one process; its port."""
    port = free_port()
    env = {
        "RECEIVER_DATABASE_URL": servers.database_url,
        "RECEIVER_REDIS_URL": servers.redis_url,
        "RECEIVER_TOKEN_KEYS": f'["{secrets.token_hex(32)}"]',
        "RECEIVER_TOKEN_RATE": str(1_000_000_000),
    }
    arguments = ["uvicorn", "benchmarks.keyed:app", "--port", str(port), "--no-access-log"]
    with program(arguments, env, port=port):
        yield port
