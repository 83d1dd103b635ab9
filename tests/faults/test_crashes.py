"""The server dies at each point of a callback's life; the provider's next call finds everything in order."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.faults.conftest import ask_oracle, program_on
from tests.faults.relay import Relay
from tests.ingress.accounts import Account, Sent
from tests.ingress.inboxes import BLOCKED, locked
from tests.ingress.ledger import Ledger, until
from tests.ingress.program import Program, ended
from tests.ingress.wire import Line, ask

Accounts = Mapping[str, Account]
POINTS = {"verified": False, "before_answer": True}
"""Where it dies, and whether the callback is stored by then. Faults 1 and 3."""


async def nobody_answers(port: int, sent: Sent, process: subprocess.Popen[bytes]) -> None:
    """The connection ends without a word, since the server was killed."""
    async with Line(port) as line:
        await line.send(sent.raw)
        assert await line.ended()
    assert ended(process) == -signal.SIGKILL


@pytest.mark.parametrize("point", POINTS)
async def test_dies_at(program: Program, ledger: Ledger, accounts: Accounts, point: str) -> None:
    sent, stored = accounts["stripe"].sent(), POINTS[point]
    process = program.start("serve", failpoint=point)
    await nobody_answers(program.port, sent, process)
    assert bool(await ledger.stored()) is stored
    assert await ledger.redis_keys() == 0, "nothing was claimed, so nothing need be taken back"
    program.start("up")
    for _ in range(2):
        assert (await ask(program.port, sent.raw)).status == 200
    await ask_oracle(ledger, [sent.external_id])
    assert (await ledger.counts())["dispatch"] == 2


async def test_dies_between_insert_and_commit(  # fault 2
    program: Program, ledger: Ledger, accounts: Accounts
) -> None:
    """The insert is one statement that commits by itself: it is held up by a lock while the server dies."""
    sent = accounts["stripe"].sent()
    process = program.start("serve")
    async with Line(program.port) as line:
        async with locked(ledger.database_url):
            await line.send(sent.raw)
            await ledger.until(BLOCKED)
            assert await ledger.redis_keys() == 0, "nothing is claimed before the commit"
            os.kill(process.pid, signal.SIGKILL)
            assert await line.ended()
        assert ended(process) == -signal.SIGKILL
    program.start("up")
    assert (await ask(program.port, sent.raw)).status == 200
    await ask_oracle(ledger, [sent.external_id])
    assert await ledger.stored() == {sent.external_id: 1}


async def test_dies_before_it_hears_of_the_commit(  # faults 2 and 3, a moment later
    tmp_path: Path, ledger: Ledger, accounts: Accounts
) -> None:
    sent = accounts["stripe"].sent()
    async with Relay(ledger.database_url) as relay:
        behind = program_on(tmp_path / "behind", accounts, Ledger(relay.url, ledger.redis_url))
        try:
            process = await asyncio.to_thread(behind.start, "serve")
            relay.hold()
            async with Line(behind.port) as line:
                await line.send(sent.raw)

                async def committed() -> bool:
                    return bool(await ledger.stored())

                assert await until(committed)
                os.kill(process.pid, signal.SIGKILL)
                assert await line.ended()
            assert ended(process) == -signal.SIGKILL
            relay.release()
            await asyncio.to_thread(behind.start, "up")
            assert (await ask(behind.port, sent.raw)).status == 200
            await ask_oracle(ledger, [sent.external_id])
        finally:
            await asyncio.to_thread(behind.stop)
    assert await ledger.stored() == {sent.external_id: 1}
