"""What is odd in any way, sent to the service: it answers as the verifier says, and what it stores are the facts."""

import datetime as dt
import time
from collections.abc import Iterator

import pytest

from receiver.errors import VerificationError
from receiver.events import Callback, Fact
from receiver.inbox.key import dedup_key
from tests.fuzz.rounds import odd_ones
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.providers.accounts import IDS, Account, account, wire
from tests.providers.line import KeptLine

EVERY = 97
"""One odd callback in so many is sent."""
STORED = "SELECT key, external_id, type, entity_id, livemode, occurred_at, trust FROM receiver.event WHERE source = $1"
REFUSED = {400, 401, 431}
"""What HTTP does not allow in a header is refused before the provider is asked."""


@pytest.mark.parametrize("id_", IDS)
async def test_what_is_odd_is_stored_as_it_is_read(everyone: Program, own_stores: Ledger, id_: str) -> None:
    one = account(id_)
    began = everyone.log.stat().st_size
    expected: dict[bytes, tuple[object, ...]] = {}
    async with KeptLine(everyone.port) as line:
        for case, callback in odd_ones(one, EVERY, time.time()):
            facts, statuses = verdict(one, callback)
            assert (await line.ask(wire(callback, id_))).status in statuses, case
            for key, row in rows(one, facts):
                expected.setdefault(key, row)
    stored = {row[0]: row[1:] for row in await own_stores.query(STORED, id_)}
    assert stored
    assert stored == expected
    assert b"Traceback" not in everyone.log.read_bytes()[began:]


def verdict(one: Account, callback: Callback) -> tuple[tuple[Fact, ...], set[int]]:
    """The facts, and how the callback may be answered."""
    try:
        facts = one.source.verify(callback, time.time()).facts
    except VerificationError:
        return (), REFUSED
    status = 503 if any(fact.retry for fact in facts) else one.source.provider.acknowledgement().status
    return facts, {status}


def rows(one: Account, facts: tuple[Fact, ...]) -> Iterator[tuple[bytes, tuple[object, ...]]]:
    """The events that they become."""
    for fact in facts:
        if fact.odd is None and fact.external_id is not None and not fact.fresh:
            at = fact.occurred_at and fact.occurred_at.astimezone(dt.UTC)
            key = dedup_key(one.id, fact.identity or fact.external_id, fact.key_time)
            yield key, (fact.external_id, fact.type, fact.entity_id, fact.livemode, at, fact.trust)
