"""A thousand copies at once, and two bodies under one id."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping

from receiver.app.listeners import allow_many_files
from receiver.settings import Settings
from tests.faults.conftest import Start, ask_oracle, settle
from tests.ingress.accounts import Account, Sent
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.ingress.wire import Line, ask, request

Accounts = Mapping[str, Account]
COPIES = 1_000
PROCESSES = 4
TAKEN = re.compile(rb'^receiver_callbacks_total\{result="(\w+)",source="stripe"\} ([\d.]+)$', re.MULTILINE)


async def all_at_once(port: int, sent: Sent) -> Counter[int]:
    """Statuses of copies that are sent together, each on a connection of its own that was open before."""
    lines = [Line(port) for _ in range(COPIES)]
    try:
        for line in lines:
            await line.__aenter__()
        replies = await asyncio.gather(*(line.ask(sent.raw) for line in lines))
    finally:
        for line in lines:
            await line.__aexit__(None, None, None)
    return Counter(reply.status for reply in replies)


async def taken(program: Program) -> dict[int, Counter[str]]:
    """What each process says it took."""
    found = {}
    for port in program.operators:
        metrics = (await ask(port, request("/metrics", method="GET"))).body
        found[port] = Counter({result.decode(): int(float(count)) for result, count in TAKEN.findall(metrics)})
    return found


async def test_a_thousand_copies_over_four_processes(  # fault 26
    program: Program, ledger: Ledger, accounts: Accounts
) -> None:
    allow_many_files()
    sent = accounts["stripe"].sent()
    program.start("serve", processes=PROCESSES)
    servers = list(program.operators)
    program.start("work")
    assert len(set(program.ports)) == 1
    statuses = await all_at_once(program.port, sent)
    assert set(statuses) <= {200, 503}
    assert (await ask(program.port, sent.raw)).status == 200
    await ask_oracle(ledger, [sent.external_id])
    assert await ledger.stored() == {sent.external_id: 1}
    assert (await ledger.counts())["dispatch"] == 2
    said = {port: counts for port, counts in (await taken(program)).items() if port in servers}
    assert sum(counts["accepted"] for counts in said.values()) == 1
    assert sum(said.values(), Counter[str]()).total() == statuses[200] + 1
    assert sum(counts.total() > 0 for counts in said.values()) == PROCESSES, "all of them had a part in it"


async def test_two_bodies_under_one_id(  # fault 27
    accounts: Accounts, ledger: Ledger, settings: Settings, start: Start
) -> None:
    stripe = accounts["stripe"]
    payload = stripe.sample()
    data = json.loads(json.dumps(payload["data"]))
    data["object"]["amount"] = 1
    first, second = stripe.signed(payload), stripe.signed({**payload, "data": data})
    async with start() as served:
        assert (await served.post(first)).status == 200
        assert (await served.post(second)).status == 200
        assert served.counted("receiver_callbacks_total", source="stripe", result="conflict") == 1
        assert (await served.post(first)).status == 200
        assert served.counted("receiver_callbacks_total", source="stripe", result="duplicate") == 1
        assert (await served.post(second)).status == 200, "the contradiction is resent as well"
        assert served.counted("receiver_callbacks_total", source="stripe", result="conflict") == 2
    assert await ledger.query("SELECT body FROM receiver.event") == [(first.body,)]
    kept = await ledger.query("SELECT reason, external_id, body, deliveries FROM receiver.quarantine")
    assert kept == [("id_conflict", first.external_id, second.body, 2)]
    await settle(ledger, settings, [first.external_id])
    assert await ledger.value("SELECT count(*) FROM receiver.every_attempt") == 2, "one run for each handler"


async def test_two_bodies_at_once(  # fault 27, in one batch
    accounts: Accounts, ledger: Ledger, settings: Settings, start: Start
) -> None:
    stripe = accounts["stripe"]
    payload = stripe.sample()
    bodies = [
        stripe.signed({**payload, "type": kind}) for kind in ("payment_intent.succeeded", "payment_intent.failed")
    ]
    async with start() as served:
        replies = await asyncio.gather(*(served.post(one) for one in bodies * 20))
        assert {reply.status for reply in replies} == {200}
        conflicts = served.counted("receiver_callbacks_total", source="stripe", result="conflict")
        assert conflicts == 20
    assert len(await ledger.query("SELECT FROM receiver.event")) == 1
    assert await ledger.query("SELECT reason, deliveries FROM receiver.quarantine") == [("id_conflict", 20)]
    await settle(ledger, settings, [str(payload["id"])])
