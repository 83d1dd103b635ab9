"""Servers whose clocks are ten minutes wrong refuse what is stale by them. Fault 25; tests/dispatch has its workers."""

import asyncio
import datetime as dt
import json
import time
from collections.abc import Mapping

from receiver.settings import Settings
from tests.faults.conftest import Start, settle
from tests.ingress.accounts import Account
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.ingress.wire import ask

WRONG = (600, -600)
"""Seconds."""


def seconds_off(program: Program) -> list[int]:
    """By how many seconds, to the minute, the clocks are wrong by which the programs write their logs."""
    said = (json.loads(line)["timestamp"] for line in program.log.read_text().splitlines() if '"started"' in line)
    return sorted(round((dt.datetime.fromisoformat(at).timestamp() - time.time()) / 60) * 60 for at in said)


async def test_nothing_is_taken_that_is_stale_by_the_servers_clock(
    *, program: Program, ledger: Ledger, accounts: Mapping[str, Account], settings: Settings, start: Start
) -> None:
    """Its provider calls again, and a server that is right takes it; what signs no time is taken by all, once."""
    for clock in WRONG:  # one after the other: they write to one log
        await asyncio.to_thread(program.start, "serve", clock=clock)
    assert seconds_off(program) == sorted(WRONG)
    timed, timeless = accounts["stripe"].sent(), accounts["alipay"].sent()
    for port in program.ports:
        assert (await ask(port, timed.raw)).status == 401
        assert (await ask(port, timeless.raw)).status == 200
        ages = []
        for clock in WRONG:
            stale = accounts["stripe"].signed(accounts["stripe"].sample(), now=time.time() + clock - 310)
            ages.append((await ask(port, stale.raw)).status)
        assert ages == [401, 401], "310 seconds old by its own clock, or still older"
    async with start() as served:
        assert (await served.post(timed)).status == 200
        assert (await served.post(timeless)).status == 200
    await settle(ledger, settings, [timed.external_id, timeless.external_id])
    assert await ledger.stored() == {timed.external_id: 1, timeless.external_id: 1}
