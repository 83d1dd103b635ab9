"""pgqueuer doing the work of the dispatch benchmark: `python -m benchmarks.pgqueuer_peer URL` is one worker.

At its best: each setting below was raced against its neighbours. What it does less than the receiver is left so, in
its favour: a job holds an account's number instead of an event, and effect and completion are separate transactions.
"""

import sys

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries

BATCH = 100
"""Jobs fetched, and completed, by one statement: 10 to 50 were slower, 200 no faster."""
AT_ONCE = 2 * BATCH
"""The least that it allows; without a bound it was slower by a third."""
CONNECTIONS = 16
"""That handlers share: 4 and 8 were slower."""
ENTRYPOINT = "mark_paid"
PAY = "UPDATE public.account SET paid = paid + 1 WHERE id = $1"
LEFT = "SELECT count(*) FROM public.pgqueuer"


async def install(url: str) -> None:
    """Make its tables, with its own advice for autovacuum."""
    connection = await asyncpg.connect(url)
    try:
        queries = Queries.from_asyncpg_connection(connection)
        await queries.install()
        await queries.optimize_autovacuum()
    finally:
        await connection.close()


async def owe(url: str, jobs: int) -> None:
    """Enqueue `jobs`, by one statement."""
    connection = await asyncpg.connect(url)
    try:
        payloads: list[bytes | None] = [b"%d" % (number % 10_000) for number in range(jobs)]
        await Queries.from_asyncpg_connection(connection).enqueue([ENTRYPOINT] * jobs, payloads, [0] * jobs)
    finally:
        await connection.close()


async def work(url: str) -> None:
    """Run jobs until the process is ended."""
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS, reset=_keep) as pool:

        async def mark_paid(job: Job) -> None:
            await pool.execute(PAY, int(job.payload or b""))

        queue = PgQueuer.from_asyncpg_connection(await asyncpg.connect(url))
        queue.entrypoint(ENTRYPOINT)(mark_paid)
        await queue.qm.run(batch_size=BATCH, max_concurrent_tasks=AT_ONCE)


async def _keep(_connection: object) -> None:
    """Asyncpg's pool would ask Postgres to forget the session after each statement: one round trip more."""


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
