"""A GET is answered where the provider asks by it whether this is the right address, and nowhere else."""

import hashlib
import hmac
from collections.abc import Mapping

import pytest

from receiver import Receiver
from receiver.settings import made
from tests.ingress.ledger import Ledger
from tests.ingress.serving import DOORS, serving
from tests.ingress.wire import Line, request

SOURCES: Mapping[str, Mapping[str, object]] = {
    "braintree": {"provider": "braintree", "keys": {"public1": "private1"}},
    "stripe": {"provider": "stripe", "secrets": ["whsec_1"]},
}
DIGITS = b"20f9f8ed05f77439fe955c977e4c8a53"
ANSWER = b"public1|" + hmac.new(hashlib.sha1(b"private1").digest(), DIGITS, hashlib.sha1).hexdigest().encode()
GOOD = "/callbacks/braintree?bt_challenge=" + DIGITS.decode()


@pytest.mark.parametrize("door", DOORS)
async def test_a_challenge(ledger: Ledger, door: str) -> None:
    settings = made(database_url=ledger.database_url, redis_url=ledger.redis_url, sources=SOURCES)
    refused = {
        "another source": (request(GOOD.replace("braintree", "stripe"), method="GET"), 405),
        "no digits": (request("/callbacks/braintree?bt_challenge=bad", method="GET"), 405),
        "nothing asked": (request("/callbacks/braintree", method="GET"), 405),
        "another method": (request(GOOD, method="PUT"), 405),
        "by POST": (request(GOOD), 401),
        "no source": (request(GOOD.replace("braintree", "nobody"), method="GET"), 404),
    }
    async with serving(Receiver(settings), settings, door) as served, Line(served.port) as line:
        for raw in (request(GOOD, method="GET"), request(GOOD, method="GET")):
            reply = await line.ask(raw.replace(b" /", b" " + served.prefix.encode() + b"/", 1))
            assert (reply.status, reply.headers["content-type"], reply.body) == (200, "text/plain", ANSWER)
        for case, (raw, status) in refused.items():
            reply = await line.ask(raw.replace(b" /", b" " + served.prefix.encode() + b"/", 1))
            assert reply.status == status, case
    assert await ledger.counts() == {}
