"""Who runs handlers: what each worker says of itself, and what operators ask about all of them.

A worker tells its state every few seconds, on a connection of its own: a lock on this table must not keep it from
its work. Times are the database's. One that has not been heard of for a while is shown as lost, and forgotten after a
day, like one that has stopped.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.storage.engine import Connection, make_engine
from receiver.storage.own import KeptConnection

TELL_SECONDS: Final = 5.0
"""Between one word of a worker and the next."""
LOST_SECONDS: Final = 20.0
"""Without a word, after which it is taken for lost."""
_ANSWER_SECONDS: Final = 5.0

State = Literal["running", "draining", "stopped"]


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A handler whose circuit is open in a worker, as the worker's own clock has it."""

    handler: str
    open_seconds: float
    """For how long."""
    probe_seconds: float
    """Until the next probe."""


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of itself."""

    name: str
    host: str
    pid: int
    version: str
    up_seconds: float
    """Since it started."""
    state: State
    concurrency: int
    """Handlers that it runs at once, at most."""
    running: int
    """Those that it runs now."""
    handlers: tuple[str, ...]
    """All that it knows."""
    closed: tuple[Closed, ...]


class OpenCircuit(msgspec.Struct, frozen=True, kw_only=True):
    """A handler of which a worker runs nothing but probes."""

    handler: str
    since: datetime
    probe_at: datetime
    """When the next probe may run."""


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One worker in a list."""

    name: str
    host: str
    pid: int
    version: str
    state: Literal["running", "draining", "stopped", "lost"]
    """`lost`: it has said nothing for a while: dead, frozen, or cut off from the database."""
    concurrency: int
    running: int
    started_at: datetime
    seen_at: datetime
    handlers: tuple[str, ...]
    circuits: tuple[OpenCircuit, ...]


class Orphans(msgspec.Struct, frozen=True, kw_only=True):
    """Dispatches that are owed to a handler that no live worker knows."""

    handler: str
    owed: int
    """Ready or leased, without those that wait behind them in a lane; counted up to `MOST_COUNTED`."""
    since: datetime
    """What has been due for longest, when it was."""


MOST_COUNTED: Final = 1_000

_TELL: Final = """
WITH forgotten AS (
    DELETE FROM receiver.worker WHERE seen_at < now() - interval '1 day' AND name <> $1
)
INSERT INTO receiver.worker
    (name, host, pid, version, started_at, seen_at, state, concurrency, running, handlers, circuits)
SELECT $1, $2, $3, $4, now() - make_interval(secs => $5), now(), $6, $7, $8, $9, coalesce(jsonb_agg(
    jsonb_build_object('handler', closed.handler, 'since', now() - make_interval(secs => closed.open),
                       'probe_at', now() + make_interval(secs => closed.probe)) ORDER BY closed.handler
), '[]')
FROM unnest($10::text[], $11::float8[], $12::float8[]) AS closed(handler, open, probe)
ON CONFLICT (name) DO UPDATE SET
    started_at = excluded.started_at, seen_at = excluded.seen_at, state = excluded.state, running = excluded.running,
    concurrency = excluded.concurrency, handlers = excluded.handlers, circuits = excluded.circuits
"""

_LIST: Final = """
SELECT name, host, pid, version, concurrency, running, started_at, seen_at, handlers, circuits::text AS circuits,
       CASE WHEN state <> 'stopped' AND seen_at < now() - make_interval(secs => $1) THEN 'lost' ELSE state END AS state
FROM receiver.worker ORDER BY started_at, name
"""

_LIVE: Final = "state = 'running' AND seen_at >= now() - make_interval(secs => $1)"
_KNOWS: Final = f"SELECT EXISTS (SELECT FROM receiver.worker WHERE $2 = ANY(handlers) AND {_LIVE})"

# From one handler to the next along the index of what is owed, whose order begins with them: however many rows there
# are, only a few are looked at. What waits in a lane is behind a row that is found so, or behind a dead one.
_ORPHANS: Final = f"""
WITH RECURSIVE found AS (
    (SELECT handler, due_at FROM receiver.dispatch WHERE state IN ('ready', 'leased') ORDER BY handler, due_at LIMIT 1)
    UNION ALL
    SELECT next.* FROM found CROSS JOIN LATERAL (
        SELECT handler, due_at FROM receiver.dispatch
        WHERE state IN ('ready', 'leased') AND handler > found.handler ORDER BY handler, due_at LIMIT 1
    ) AS next
)
SELECT handler, due_at AS since, (
    SELECT count(*) FROM (
        SELECT FROM receiver.dispatch AS d
        WHERE d.handler = found.handler AND d.state IN ('ready', 'leased') LIMIT {MOST_COUNTED}
    ) AS counted
) AS owed
FROM found WHERE NOT EXISTS (SELECT FROM receiver.worker WHERE found.handler = ANY(handlers) AND {_LIVE})
ORDER BY handler
"""


def telling_engine(url: str) -> AsyncEngine:
    """The engine of a `TellingConnection`."""
    settings = {"lock_timeout": "2s", "statement_timeout": "4s", "synchronous_commit": "off"}
    return make_engine(url, name="receiver-presence", size=1, settings=settings)


class TellingConnection:
    """The connection on which a worker tells its state; opened when first needed and again after each loss.

    Args:
        engine: see `telling_engine`.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._kept = KeptConnection(engine)

    async def tell(self, word: Word) -> None:
        """Write what the worker says of itself, and forget workers that have been silent for a day. Commits.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not do it in a few seconds.
        """
        async with self._kept.use() as own:
            await own.raw.execute(_TELL, *_values(word), timeout=_ANSWER_SECONDS)

    async def close(self) -> None:
        """Close the connection."""
        await self._kept.close()


async def workers(connection: Connection) -> Sequence[WorkerRow]:
    """All that have been heard of for a day, the longest-lived first."""
    rows = await connection.fetch(_LIST, LOST_SECONDS)
    return [
        msgspec.convert(
            {**row, "circuits": msgspec.json.decode(row["circuits"], type=tuple[OpenCircuit, ...])}, WorkerRow
        )
        for row in rows
    ]


async def is_known(connection: Connection, handler: str) -> bool:
    """Whether a live worker knows the handler: one that was heard of lately and is not about to stop."""
    return bool(await connection.fetchval(_KNOWS, LOST_SECONDS, handler))


async def orphans(connection: Connection) -> Sequence[Orphans]:
    """Handlers that are owed something and that no live worker knows; by name."""
    rows = await connection.fetch(_ORPHANS, LOST_SECONDS)
    return msgspec.convert([dict(row) for row in rows], list[Orphans])


def _values(word: Word) -> tuple[object, ...]:
    return (
        word.name,
        word.host,
        word.pid,
        word.version,
        word.up_seconds,
        word.state,
        word.concurrency,
        word.running,
        list(word.handlers),
        [closed.handler for closed in word.closed],
        [closed.open_seconds for closed in word.closed],
        [closed.probe_seconds for closed in word.closed],
    )
