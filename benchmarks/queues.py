"""The queues that run jobs in the dispatch benchmark: the receiver's own, and what a merchant would take instead."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial

from benchmarks import callbacks, pgqueuer_peer, procrastinate_peer
from benchmarks.sql import execute
from receiver.embedded import EmbeddedServers

CLIENTS = 16
RECEIVER = "receiver, raw SQL"
SESSION = "receiver, SQL through a session"
LANES = 1_000
PGQUEUER = "pgqueuer"
PROCRASTINATE = "procrastinate"

# Due rows as ingress leaves them, made at once: what is measured is the worker, not the way in.
OWED = """
WITH made AS (
    SELECT uuidv7() AS id, 'evt_' || lpad((n % 10000)::text, 20, '0') AS external_id
    FROM generate_series(1, $1::int) n
), stored AS (
    INSERT INTO receiver.event (id, key, source, provider, external_id, type, headers, body)
    SELECT id, uuid_send(id), 'stripe', 'stripe', external_id, 'payment_intent.succeeded', '{}', $2 FROM made
)
INSERT INTO receiver.dispatch (event_id, handler, lane, lane_at)
SELECT id, $3, mod(abs(hashtextextended(external_id, 0)), $4::int), CASE WHEN $4 IS NOT NULL THEN now() END FROM made
"""
LEFT = "SELECT count(*) FROM receiver.dispatch WHERE state IN ('ready', 'waiting', 'leased')"


@dataclass(frozen=True, kw_only=True)
class Queue:
    """One contender."""

    name: str
    arguments: list[str]
    """Of `python -m`, for one worker process."""
    owe: Callable[[str, int], Coroutine[None, None, None]]
    """Enqueues so many jobs, at the URL of the database."""
    left: str
    """Counts the jobs that are not completed."""
    table: str
    """That the jobs are in."""
    env: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    share: float = 1.0
    """Of the jobs of a round: a slow one gets fewer, so that each takes about as long."""


def contenders(servers: EmbeddedServers) -> list[Queue]:
    """All, in the order in which a round runs them."""
    url = servers.database_url
    return [
        _receiver(servers, RECEIVER, "mark_paid_raw"),
        Queue(
            name=PGQUEUER,
            arguments=["benchmarks.pgqueuer_peer", url],
            owe=pgqueuer_peer.owe,
            left=pgqueuer_peer.LEFT,
            table="public.pgqueuer",
        ),
        Queue(
            name=PROCRASTINATE,
            arguments=["benchmarks.procrastinate_peer", url],
            owe=procrastinate_peer.owe,
            left=procrastinate_peer.LEFT,
            table="public.procrastinate_jobs",
            share=0.2,
        ),
        _receiver(servers, "receiver, raw SQL, batch=20", "mark_paid_together", share=2.0),
        _receiver(servers, "receiver, raw SQL, batch=20, as_list=True", "mark_paid_as_list", share=2.0),
        _receiver(servers, "receiver, raw SQL, wait_for_disk=false", "mark_paid_raw", waits=False),
        _receiver(servers, SESSION, "mark_paid"),
        _receiver(servers, "receiver, ORM: update of a class", "mark_paid_orm", share=0.5),
        _receiver(servers, "receiver, ORM: load and change", "mark_paid_object", share=0.5),
        _receiver(servers, "receiver, raw SQL, 1,000 lanes", "mark_paid_in_lane", lanes=LANES),
        _receiver(servers, "receiver, raw SQL, 2 processes", "mark_paid_raw", processes=2),
        _receiver(
            servers, "receiver, raw SQL, 1,000 lanes, 2 processes", "mark_paid_in_lane", lanes=LANES, processes=2
        ),
    ]


async def install_peers(url: str) -> None:
    """Make the tables of those that are not ours."""
    await pgqueuer_peer.install(url)
    await procrastinate_peer.install(url)


def environment(servers: EmbeddedServers) -> dict[str, str]:
    """What the receiver's programs are told about themselves."""
    return {
        "RECEIVER_DATABASE_URL": servers.database_url,
        "RECEIVER_REDIS_URL": servers.redis_url,
        "RECEIVER_OPERATOR_PORT": "0",
        "RECEIVER_CONCURRENCY": str(CLIENTS),
        "RECEIVER_SOURCES__STRIPE__PROVIDER": "stripe",
        "RECEIVER_SOURCES__STRIPE__SECRETS": f'["{callbacks.SECRET}"]',
    }


async def owe(url: str, jobs: int, *, handler: str = "mark_paid_raw", lanes: int | None = None) -> None:
    """Store `jobs` events, each with one due dispatch.

    Args:
        url: of the database.
        jobs: how many.
        handler: whose.
        lanes: how many lanes they are in; None: none.
    """
    await execute(url, OWED, jobs, callbacks.body(), handler, lanes)


def _receiver(
    servers: EmbeddedServers,
    name: str,
    handler: str,
    *,
    lanes: int | None = None,
    processes: int = 1,
    share: float = 1.0,
    waits: bool = True,
) -> Queue:
    return Queue(
        name=name,
        arguments=["receiver", "work", "benchmarks.handlers:receiver"],
        owe=partial(owe, handler=handler, lanes=lanes),
        share=share,
        left=LEFT,
        table="receiver.dispatch",
        env={**environment(servers), "RECEIVER_WAIT_FOR_DISK": str(waits).lower()},
        processes=processes,
    )
