"""Tokens, payments and events in any order and at any moment: a token opens one thing, and nothing else is refused."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.events import Held
from receiver.inbox.outcome import Outcome
from receiver.inbox.store import Store
from receiver.storage.arrivals import Arrival
from receiver.storage.engine import make_engine
from tests.ingress.inboxes import arrival
from tests.ingress.ledger import Ledger

SECONDS: Final = 10.0
MODEST = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_runs = itertools.count()

# Which token (None: none), which payment, which of its events.
callbacks = st.tuples(st.sampled_from([None, 0, 1, 2]), st.integers(0, 2), st.integers(0, 2))
flushes = st.lists(st.lists(callbacks, min_size=1, max_size=5), min_size=1, max_size=5)

Planned = list[list[tuple[int | None, int, int]]]
Seen = list[tuple[Arrival, Outcome]]


def planned(plan: Planned, run: int) -> list[list[Arrival]]:
    """The callbacks as rows; no run meets those of another."""
    return [[_row(run, *one) for one in flush] for flush in plan]


def _row(run: int, token: int | None, payment: int, event: int) -> Arrival:
    subject = b"payment%09d" % payment
    held = None if token is None else Held(nonce=b"%08d%08d" % (run, token), subject=subject)
    return arrival(f"{run}:{payment}:{event}", entity_id=str(payment), token=held)


async def settled(store: Store, flush: Sequence[Arrival]) -> Seen:
    return list(zip(flush, await store.settle(flush, SECONDS), strict=True))


def token_of(row: Arrival) -> bytes | None:
    return None if row.token is None else row.token.nonce


def check(seen: Seen) -> None:
    """Whatever the order was."""
    taken = defaultdict(list)
    for row, outcome in seen:
        taken[outcome].append(row)
    stored = [row.key for row in taken[Outcome.STORED]]
    assert len(set(stored)) == len(stored), "an event was stored twice"
    assert set(stored) >= {row.key for row in taken[Outcome.DUPLICATE]}, "a duplicate of nothing"
    opened = payments_of(taken[Outcome.STORED])
    assert all(len(payments) == 1 for payments in opened.values()), "a token opened two payments"
    # Two callbacks of one event in one flush use both of their tokens.
    used = payments_of([*taken[Outcome.STORED], *taken[Outcome.DUPLICATE]])
    for row in taken[Outcome.REPEATED]:
        assert used[token_of(row)] - {row.entity_id}, "refused for no reason"
        assert row.entity_id not in opened[token_of(row)], "refused although it is its own"


def payments_of(rows: Sequence[Arrival]) -> dict[bytes | None, set[str | None]]:
    """By token that opens one thing only: what it came with."""
    found: dict[bytes | None, set[str | None]] = defaultdict(set)
    for row in rows:
        if (nonce := token_of(row)) is not None:
            found[nonce].add(row.entity_id)
    return found


async def kept(ledger: Ledger, run: int, seen: Seen) -> None:
    """The tables say what was answered: nothing that was refused is lost."""
    events = await ledger.query("SELECT external_id FROM receiver.event WHERE external_id LIKE $1", f"{run}:%")
    aside = await ledger.query("SELECT external_id FROM receiver.quarantine WHERE external_id LIKE $1", f"{run}:%")
    assert {row[0] for row in events} == {row.external_id for row, outcome in seen if outcome is Outcome.STORED}
    assert {row[0] for row in aside} == {row.external_id for row, outcome in seen if outcome is Outcome.REPEATED}
    bound = await ledger.query("SELECT nonce FROM receiver.callback_token WHERE nonce BETWEEN $1 AND $2", *_range(run))
    assert {row[0] for row in bound} >= {token_of(row) for row, outcome in seen if outcome is Outcome.STORED} - {None}


def _range(run: int) -> tuple[bytes, bytes]:
    return b"%08d%08d" % (run, 0), b"%08d%08d" % (run, 99)


@MODEST
@given(plan=flushes, alone=st.booleans())
def test_in_any_order(ledger: Ledger, plan: Planned, alone: bool) -> None:
    """One process after the other, or two that flush at the same time."""

    async def play() -> None:
        run = next(_runs)
        rows = planned(plan, run)
        engines = [make_engine(ledger.database_url, name=f"test-{n}", size=1) for n in range(2)]
        stores = [Store(engine) for engine in engines]
        seen: Seen = []
        try:
            if alone:
                for flush in rows:
                    seen += await settled(stores[0], flush)
            else:
                for one, two in zip(rows[::2], [*rows[1::2], rows[0]], strict=False):
                    for part in await asyncio.gather(settled(stores[0], one), settled(stores[1], two)):
                        seen += part
        finally:
            for store, engine in zip(stores, engines, strict=True):
                await store.close()
                await engine.dispose()
        check(seen)
        await kept(ledger, run, seen)

    asyncio.run(play())
