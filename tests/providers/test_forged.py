"""What no provider signed, of every provider and by both doors: 401, a stable reason, no row, no key, not a word."""

import json
import re
from collections.abc import AsyncIterator

import pytest

from receiver.events import Callback
from receiver.operate.hints import HINTS
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.ingress.wire import Reply
from tests.providers.accounts import IDS, MARKER, account, secrets_of, stranger, wire
from tests.providers.forgeries import FORGERIES, forgeries_of
from tests.providers.line import KeptLine

REASON = re.compile(r"[a-z]+(_[a-z0-9]+)*")
SECRETS = secrets_of([made(name) for name in IDS for made in (account, stranger)])


@pytest.fixture
async def nothing_kept(own_stores: Ledger, everyone: Program) -> AsyncIterator[None]:
    """The test leaves no row anywhere, no key in Redis, and nothing of a callback or of a secret in the log."""
    began = everyone.log.stat().st_size
    yield
    assert await own_stores.counts() == {}
    assert await own_stores.redis_keys() == 0
    log = everyone.log.read_bytes()[began:]
    assert b"Traceback" not in log
    assert not [text for text in (MARKER.encode(), *SECRETS) if text in log]


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("name", IDS)
async def test_forged(everyone: Program, name: str) -> None:
    one = account(name)
    async with KeptLine(everyone.port) as line:
        for case, (forged, reasons) in forgeries_of(one).items():
            said = [await refused(line, forged, name, asgi) for asgi in (False, True)]
            assert said[0] == said[1], case
            assert said[0] in reasons, case


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("name", IDS)
async def test_sent_to_the_wrong_source(everyone: Program, name: str) -> None:
    """What is genuine elsewhere, or was genuine once."""
    good = account(name).sent()
    async with KeptLine(everyone.port) as line:
        assert await refused(line, good, f"{name}-stranger") in {
            "signature_mismatch",
            "key_unknown",
            "certificate_untrusted",
        }
        assert await refused(line, good, f"{name}-retired") == "key_expired"


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("name", IDS)
async def test_by_another_method(everyone: Program, name: str) -> None:
    good = account(name).sent()
    async with KeptLine(everyone.port) as line:
        for method in ("GET", "PUT", "DELETE"):
            raw = wire(good, name).replace(b"POST", method.encode(), 1)
            reply = await line.ask(raw)
            assert reply.status == 405
            check_silence(reply, good)


async def refused(line: KeptLine, forged: Callback, source: str, asgi: bool = False) -> str:
    """Send it, look at the answer, and return the reason."""
    reply = await line.ask(wire(forged, source, asgi=asgi))
    assert reply.status == 401, reply
    assert reply.headers["content-type"] == "application/problem+json"
    said = json.loads(reply.body)
    reason: str = said["reason"]
    assert REASON.fullmatch(reason)
    assert reason in HINTS, "an operator is told what usually causes it"
    assert (said["status"], said["type"]) == (401, f"urn:receiver:problem:{reason}")
    check_silence(reply, forged)
    return reason


def check_silence(reply: Reply, sent: Callback) -> None:
    """Nothing that was sent comes back, nor anything that is secret."""
    whole = reply.body + repr(reply.headers).encode()
    assert MARKER.encode() not in whole
    assert b"Traceback" not in whole
    for text in (sent.body, *(value for _, value in sent.headers), *SECRETS):
        assert len(text) < 12 or text not in whole


@pytest.mark.parametrize("case", FORGERIES)
def test_each_forgery_is_made_of_some_provider(case: str) -> None:
    """So that none is in the table for nothing."""
    assert any(case in forgeries_of(account(name)) for name in IDS)
