"""Genuine but odd, of every provider and by both doors: acknowledged, kept whole with a reason, owed to no handler."""

import time

import pytest

from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.providers.accounts import IDS, Account, account, wire
from tests.providers.line import KeptLine
from tests.providers.odd import Odd, is_signed, odd_callbacks
from tests.providers.places import with_signature

KEPT = "SELECT body, reason, deliveries FROM receiver.quarantine WHERE source = $1 ORDER BY id"


@pytest.mark.parametrize("id_", IDS)
async def test_odd(everyone: Program, own_stores: Ledger, id_: str) -> None:
    one = account(id_)
    callbacks = odd_callbacks(one)
    async with KeptLine(everyone.port) as line:
        expected = [await kept(line, one, case, odd) for case, odd in callbacks.items()]
        forged = with_signature(one, one.sent())
        assert (await line.ask(wire(forged, id_))).status == 401, "the next one is looked at as if nothing had been"
    rows = await own_stores.query(KEPT, id_)
    assert rows, "each can be odd in some way"
    for (body, reason, deliveries), (case, sent, wanted) in zip(rows, filter(None, expected), strict=True):
        assert (body, deliveries) == (sent, 2), case
        assert reason in {wanted or reason, "batch_malformed"}, case
    assert await own_stores.value("SELECT count(*) FROM receiver.event WHERE source = $1", id_) == 0
    assert await own_stores.redis_keys() == 0


async def kept(line: KeptLine, one: Account, case: str, odd: Odd) -> tuple[str, bytes, str | None] | None:
    """Send it by each door; returns what must be in quarantine then, None where it carries no signature at all."""
    statuses = {(await line.ask(wire(odd.callback, one.id, asgi=asgi))).status for asgi in (False, True)}
    if not is_signed(one, odd.callback):
        assert statuses == {401}, case
        return None
    (fact, *_) = one.source.verify(odd.callback, time.time()).facts
    assert statuses == {503 if fact.retry else one.source.provider.acknowledgement().status}, case
    return case, odd.callback.body if fact.body is None else fact.body, odd.reason


async def test_what_is_not_odd_is_handled_by_the_same_program(everyone: Program, own_stores: Ledger) -> None:
    """Of all providers; whoever was sent something odd before lives."""
    async with KeptLine(everyone.port) as line:
        for id_ in IDS:
            reply = await line.ask(wire(account(id_).sent(), id_))
            ack = account(id_).source.provider.acknowledgement()
            assert (reply.status, reply.body) == (ack.status, ack.body), id_
    await own_stores.until("SELECT count(*) = $1 FROM public.effect", len(IDS))
    assert await own_stores.value("SELECT count(*) FROM receiver.every_attempt") == len(IDS), (
        "each at the first attempt"
    )
