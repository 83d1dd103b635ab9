"""Genuine conformance vectors, over HTTP: the provider's own acknowledgement, and just those events, each once."""

from collections.abc import AsyncIterator, Mapping

import pytest

from receiver.sources import PROVIDERS
from tests.ingress.ledger import Ledger
from tests.ingress.wire import Reply
from tests.providers.vectors import EXEMPT, Played, played, source_of, taken
from tests.sources.vector_exceptions import Exempt
from tests.sources.vector_keys import OTHER_KEY
from tests.sources.vectors import Vector, cases, external_id

STORED = "SELECT external_id, type FROM receiver.event WHERE source = $1 ORDER BY id"
ASIDE = "SELECT reason, body FROM receiver.quarantine WHERE source = $1 ORDER BY id"


@pytest.fixture(scope="module")
async def service(own_stores: Ledger, anyio_backend: str) -> AsyncIterator[Played]:
    del anyio_backend
    async with played(own_stores) as running:
        yield running


@pytest.mark.parametrize("vector", cases(taken))
async def test_a_vector_that_is_taken(service: Played, vector: Vector) -> None:
    exempt = EXEMPT.get(vector.id)
    reply = await service.send(vector)
    if exempt is None:
        check_acknowledgement(vector, reply)
        await check_kept(service, vector)
    else:
        assert reply.status == exempt.status
        await check_exempt(service, vector, exempt)
    if OTHER_KEY in vector.keys:
        assert await service.send(vector, OTHER_KEY) == reply
        stored = [await service.ledger.query(STORED, source_of(vector, key)) for key in ("", OTHER_KEY)]
        assert stored[0] == stored[1]


def check_acknowledgement(vector: Vector, reply: Reply) -> None:
    ack = PROVIDERS[vector.provider].success
    assert (reply.status, reply.body) == (ack.status, ack.body)


async def check_kept(service: Played, vector: Vector) -> None:
    """In spite of two deliveries each item is one event; what is genuine and not to be read stands aside, whole."""
    stored = await service.ledger.query(STORED, source_of(vector))
    aside = await service.ledger.query(ASIDE, source_of(vector))
    if vector.expected.get("parse_error"):
        assert stored == []
        assert [body for _, body in aside] == [vector.callback.body]
        return
    assert aside == []
    for (found, kind), wanted in zip(stored, vector.items, strict=True):
        check_event(found, kind, wanted)


def check_event(found: object, kind: object, wanted: Mapping[str, object]) -> None:
    assert external_id(wanted) in {None, found}
    assert found, "an event has an id, if only one that is ours"
    assert wanted.get("event_type") in {None, kind}


async def check_exempt(service: Played, vector: Vector, exempt: Exempt) -> None:
    stored = await service.ledger.query(STORED, source_of(vector))
    aside = await service.ledger.query(ASIDE, source_of(vector))
    assert len(stored) == exempt.stored
    assert aside == ([(exempt.aside, vector.callback.body)] if exempt.aside else [])
