"""The lane that a callback gets: the same for all of one payment, another for each handler."""

import json
import time
from collections.abc import Mapping

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Event
from receiver.settings import Settings, made
from receiver.sources import PROVIDERS
from tests.ingress.accounts import Account, Sent
from tests.ingress.ledger import Ledger
from tests.ingress.serving import DOORS, serving
from tests.ingress.shop import build

LANES = """
SELECT handler, lane, lane_at = coalesce(e.occurred_at, e.received_at)
FROM receiver.dispatch d JOIN receiver.event e ON e.id = d.event_id ORDER BY handler, lane
"""


async def nothing(event: Event, tx: AsyncSession) -> None:
    """A handler."""


def by_kind(event: Event) -> str | None:
    return event.type


def broken(_event: Event) -> str:
    raise KeyError("no such field")


@pytest.mark.parametrize("door", DOORS)
async def test_lanes_are_stored(accounts: Mapping[str, Account], ledger: Ledger, settings: Settings, door: str) -> None:
    receiver = build(settings)
    for lane, name in (("entity", "a_entity"), (by_kind, "b_kind"), (broken, "c_broken"), (None, "d_none")):
        receiver.on("stripe", name=name, lane=lane)(nothing)  # type: ignore[arg-type]
    async with serving(receiver, settings, door) as served:
        for _ in range(2):
            assert (await served.post(accounts["stripe"].sent())).status == 200
    rows = [row for row in await ledger.query(LANES) if str(row[0])[:2] in {"a_", "b_", "c_", "d_"}]
    lanes = {str(name): {row[1] for row in rows if row[0] == name} for name, _, _ in rows}
    entities = await ledger.query("SELECT count(DISTINCT entity_id) FROM receiver.event")
    assert len(rows) == 8
    assert [len(lanes["a_entity"]), len(lanes["c_broken"])] == [entities[0][0]] * 2
    assert len(lanes["b_kind"]) == 1
    assert lanes["d_none"] == {None}
    assert None not in lanes["a_entity"] | lanes["b_kind"] | lanes["c_broken"]
    assert not lanes["a_entity"] & lanes["c_broken"], "lanes of two handlers never meet"
    assert all(placed for name, _, placed in rows if name != "d_none")


async def test_a_time_that_nothing_vouches_for_orders_nothing(ledger: Ledger, settings: Settings) -> None:
    """Or anybody could make all that comes later late."""
    kind, at = PROVIDERS["stripe"], int(time.time()) + 10**8
    body = json.dumps(kind.sample("paid", external_id="evt_1", entity_id="order1", created=at)).encode()
    sources = made(sources={"open": {"provider": "stripe", "verification": "none"}}).sources
    changed = settings.model_copy(update={"sources": sources})
    receiver = build(changed)
    receiver.on("open", name="a_entity", lane="entity")(nothing)
    async with serving(receiver, changed, DOORS[0]) as served:
        assert (await served.post(Sent("/callbacks/open", (), body))).status == 200
    query = """
        SELECT lane_at = received_at, occurred_at > received_at
        FROM receiver.dispatch d JOIN receiver.event e ON e.id = d.event_id WHERE lane IS NOT NULL
    """
    assert {tuple(row) for row in await ledger.query(query)} == {(True, True)}
