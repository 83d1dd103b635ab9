"""Conformance vectors of which nothing may be kept, over HTTP: no row in any table, no key in Redis."""

import json
from collections.abc import AsyncIterator

import pytest

from receiver.operate.hints import HINTS
from tests.ingress.ledger import Ledger
from tests.providers.vectors import EXEMPT, Played, played, taken
from tests.sources.vectors import Vector, cases


@pytest.fixture(scope="module")
async def service(own_stores: Ledger, anyio_backend: str) -> AsyncIterator[Played]:
    del anyio_backend
    async with played(own_stores) as running:
        yield running


@pytest.mark.parametrize("vector", cases(lambda vector: not taken(vector)))
async def test_a_vector_of_which_nothing_is_kept(service: Played, vector: Vector) -> None:
    reply = await service.send(vector)
    if vector.expected.get("handshake"):
        answer = vector.expected.get("response_body")
        assert reply.status == (200 if vector.expected["valid"] else 405)
        assert answer is None or reply.body.decode() == answer
    else:
        assert reply.status == (EXEMPT[vector.id].status if vector.id in EXEMPT else 401)
        assert reply.status == 405 or json.loads(reply.body)["reason"] in HINTS
    assert await service.ledger.counts() == {}
    assert await service.ledger.redis_keys() == 0
