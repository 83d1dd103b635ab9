"""procrastinate doing the work of the dispatch benchmark: `python -m benchmarks.procrastinate_peer URL` is one worker.

At its best: each setting below was raced against its neighbours. What it does less than the receiver is left so, in
its favour: a job holds an account's number instead of an event, and effect and completion are separate transactions.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop
from procrastinate import App, PsycopgConnector
from procrastinate.types import JSONDict
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

AT_ONCE = 8
"""Jobs: 2 and 16 were slower, 4 as fast."""
CONNECTIONS = 8
DELETE = "successful"
"""Jobs that are done do not stay behind."""
TASK = "mark_paid"
PAY = "UPDATE public.account SET paid = paid + 1 WHERE id = %s"
LEFT = "SELECT count(*) FROM public.procrastinate_jobs WHERE status IN ('todo', 'doing')"


async def install(url: str) -> None:
    """Make its tables."""
    async with _app(url) as app:
        await app.schema_manager.apply_schema_async()


async def owe(url: str, jobs: int) -> None:
    """Enqueue `jobs`, by one statement."""
    async with _app(url) as app:
        accounts: list[JSONDict] = [{"account": number % 10_000} for number in range(jobs)]
        await app.configure_task(TASK).batch_defer_async(*accounts)


async def work(url: str) -> None:
    """Run jobs until the process is ended."""
    async with _app(url) as app:
        await app.run_worker_async(concurrency=AT_ONCE, delete_jobs=DELETE, install_signal_handlers=False)


@asynccontextmanager
async def _app(url: str) -> AsyncIterator[App]:
    """An app on a pool of ours: its own would ask Postgres before each statement whether the connection lives."""
    async with AsyncConnectionPool(
        url, min_size=CONNECTIONS, max_size=CONNECTIONS, configure=_commit_at_once, open=False
    ) as pool:

        async def mark_paid(account: int) -> None:
            async with pool.connection() as connection:
                await connection.execute(PAY, (account,))

        connector = PsycopgConnector()
        await connector.open_async(pool)
        app = App(connector=connector)
        app.task(name=TASK)(mark_paid)
        yield app


async def _commit_at_once(connection: AsyncConnection) -> None:
    """Each statement is then a transaction by itself: two round trips fewer."""
    await connection.set_autocommit(True)


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
