"""A provider that fails in our hands: whatever it does, the answer is a failure that says so, and never a 500."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from receiver.sources.providers.stripe import Stripe
from tests.ingress.accounts import Account, Sent
from tests.ingress.conftest import Start
from tests.ingress.ledger import Ledger
from tests.ingress.wire import Reply, ask, request


class PanicError(BaseException):
    """As a library written in Rust raises it."""


def panics(*_given: object) -> object:
    raise PanicError


def says_nonsense(*_given: object) -> object:
    return {1: object()}


def forged(sent: Sent) -> bytes:
    return sent.with_body(b"{}").raw


def asked(sent: Sent) -> bytes:
    return request(sent.path, method="GET")


CASES: dict[str, tuple[str, Callable[..., object], Callable[[Sent], bytes], int, bytes]] = {
    "a panic while verifying": ("authenticate", panics, lambda sent: sent.raw, 503, b"internal"),
    "nonsense for a challenge": ("challenge", says_nonsense, asked, 503, b"internal"),
    "nonsense in a refusal": ("failure", says_nonsense, forged, 401, b"signature_mismatch"),
    "nonsense beside another method": ("failure", says_nonsense, asked, 405, b"method_not_allowed"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("door", ["fast", "asgi"])
async def test_the_answer_says_so(
    accounts: Mapping[str, Account], ledger: Ledger, start: Start, door: str, case: str
) -> None:
    name, does, sent, status, reason = CASES[case]
    stripe = accounts["stripe"]
    rogue: type[Stripe] = type("Rogue", (Stripe,), {name: does})
    async with start(door) as served:
        assert served.intake is not None
        served.intake.serve({"stripe": replace(stripe.source, provider=rogue(stripe.source.options))})
        reply: Reply = await ask(served.port, sent(stripe.sent()))
    assert (reply.status, reason in reply.body) == (status, True), reply
    assert await ledger.counts() == {}
