"""Programs that serve and work are replaced while they are busy, again and again, as deployments do. Fault 32."""

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import asyncpg

from tests.faults.conftest import ask_oracle
from tests.ingress.accounts import Account, Sent
from tests.ingress.inboxes import BLOCKED, locked
from tests.ingress.ledger import Ledger, until
from tests.ingress.program import Program, ended
from tests.ingress.wire import Line

Process: TypeAlias = "subprocess.Popen[bytes]"
ROUNDS = 3
CONNECTIONS = 8
PAUSE = 0.1
"""Seconds between an answer and the next callback."""
RUNNING = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE application_name = 'receiver-worker' AND wait_event_type = 'Lock' AND datname = current_database()
"""
LEASED = "SELECT count(*) > 0 FROM receiver.dispatch WHERE state = 'leased' AND worker LIKE $1"


class Traffic:
    """Callbacks on several connections, each of them sent until it is acknowledged."""

    def __init__(self, account: Account) -> None:
        self.port = 0
        self.statuses: Counter[int] = Counter()
        self.acknowledged: list[str] = []
        self._account = account
        self._over = asyncio.Event()

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """As long as the block lasts; then all that was begun is brought to its end."""
        calling = [asyncio.create_task(self._call()) for _ in range(CONNECTIONS)]
        try:
            yield
        finally:
            self._over.set()
            await asyncio.gather(*calling)

    async def _call(self) -> None:
        sent: Sent | None = None
        while sent is not None or not self._over.is_set():
            with suppress(OSError, EOFError):  # it ended: on to the next one
                async with Line(self.port) as line:
                    while sent is not None or not self._over.is_set():
                        sent = sent or self._account.sent()
                        reply = await line.ask(sent.raw)
                        self.statuses[reply.status] += 1
                        if reply.status == 200:
                            self.acknowledged.append(sent.external_id)
                            sent = None
                        await asyncio.sleep(PAUSE)
            await asyncio.sleep(PAUSE)


async def told(program: Program, process: Process) -> None:
    """SIGTERM; returns when it says that it has heard."""
    before = program.log.read_text().count('"stopping"')
    process.terminate()

    async def heard() -> bool:
        return program.log.read_text().count('"stopping"') > before

    assert await until(heard)


async def replaced(program: Program, ledger: Ledger, process: Process) -> None:
    """End it in the middle of a flush and of some runs, of which nothing may be cut short."""
    connection = await asyncpg.connect(ledger.database_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE effect IN EXCLUSIVE MODE")
        await ledger.until(RUNNING)
        await ledger.until(LEASED, f"%:{process.pid}:%")
        async with locked(ledger.database_url):
            await ledger.until(BLOCKED)
            await told(program, process)
    await connection.close()
    assert await asyncio.to_thread(ended, process) == 0


async def test_what_is_under_way_is_finished(program: Program, ledger: Ledger, accounts: Mapping[str, Account]) -> None:
    traffic = Traffic(accounts["stripe"])

    async def start() -> Process:
        process = await asyncio.to_thread(program.start, "up")
        traffic.port = program.port
        return process

    process = await start()
    async with traffic.flowing():
        for _ in range(ROUNDS):
            old, process = process, await start()
            await replaced(program, ledger, old)
    assert set(traffic.statuses) == {200}, traffic.statuses
    await ask_oracle(ledger, traffic.acknowledged)
    tried = "SELECT number, outcome, reason, count(*) FROM receiver.every_attempt GROUP BY 1, 2, 3"
    owed = 2 * len(await ledger.stored())
    assert await ledger.query(tried) == [(1, "succeeded", None, owed)], "none had to be taken over, or begun again"
