"""What HTTP allows and what it does not: limits, methods, pieces, order, connections that go on or end."""

import asyncio
import json
from collections.abc import Mapping

import pytest

from tests.ingress.accounts import Account
from tests.ingress.conftest import LIMIT, Start
from tests.ingress.inboxes import BLOCKED, locked
from tests.ingress.ledger import Ledger
from tests.ingress.wire import Line, Reply, chunked, head, request

Accounts = Mapping[str, Account]
BOTH = pytest.mark.parametrize("door", ["fast", "asgi"])
STRIPE = "/callbacks/stripe"


def reason(reply: Reply) -> str:
    """The stable reason of a problem."""
    assert reply.headers["content-type"] == "application/problem+json"
    said = json.loads(reply.body)
    assert said["status"] == reply.status
    return str(said["reason"])


REFUSED: Mapping[str, tuple[bytes, int, str]] = {
    "GET": (request(STRIPE, method="GET"), 405, "method_not_allowed"),
    "PUT": (request(STRIPE, body=b"{}", method="PUT"), 405, "method_not_allowed"),
    "DELETE": (request(STRIPE, method="DELETE"), 405, "method_not_allowed"),
    "unknown source": (request("/callbacks/nobody", body=b"{}"), 404, "source_unknown"),
    "no source": (request("/callbacks/", body=b"{}"), 404, "source_unknown"),
    "a path below": (request("/callbacks/stripe/x", body=b"{}"), 404, "source_unknown"),
    "a slash behind": (request("/callbacks/stripe/", body=b"{}"), 404, "source_unknown"),
    "upper case": (request("/callbacks/Stripe", body=b"{}"), 404, "source_unknown"),
    "the source of emitted events": (request("/callbacks/internal", body=b"{}"), 404, "source_unknown"),
    "dots": (request("/callbacks/../callbacks/stripe", body=b"{}"), 404, "source_unknown"),
    "an escaped NUL": (request("/callbacks/stripe%00", body=b"{}"), 404, "source_unknown"),
    "a byte too many": (request(STRIPE, body=b"x" * (LIMIT + 1)), 413, "body_too_large"),
    "far too many announced": (head(STRIPE, [(b"Content-Length", b"9" * 15)]), 413, "body_too_large"),
    "too many in chunks": (chunked(STRIPE, [], [b"x" * LIMIT, b"x"]), 413, "body_too_large"),
    "too many in small chunks": (chunked(STRIPE, [], [b"x" * 100] * (LIMIT // 100 + 1)), 413, "body_too_large"),
    "gzip": (request(STRIPE, [(b"Content-Encoding", b"gzip")], b"{}"), 415, "body_compressed"),
    "gzip, in capitals": (request(STRIPE, [(b"CONTENT-ENCODING", b"GZIP")], b"{}"), 415, "body_compressed"),
    "identity, then gzip": (
        request(STRIPE, [(b"Content-Encoding", b"identity"), (b"Content-Encoding", b"br")], b"{}"),
        415,
        "body_compressed",
    ),
    "no body at all": (head(STRIPE, []), 401, "signature_missing"),
    "no length and no chunks": (head(STRIPE, []), 401, "signature_missing"),
}


@BOTH
async def test_refused(ledger: Ledger, start: Start, door: str) -> None:
    async with start(door) as served:
        for case, (raw, status, why) in REFUSED.items():
            async with Line(served.port) as line:
                reply = await line.ask(raw)
                assert (reply.status, reason(reply)) == (status, why), case
                if status in {413, 415}:
                    assert reply.headers["connection"] == "close", case
                    assert await line.ended(), case
                if status == 405:
                    assert reply.headers["allow"] == "POST"
                    assert await line.ask(raw) == reply, case
    assert await ledger.counts() == {}


MALFORMED: Mapping[str, bytes] = {
    "no HTTP": b"hello\r\n\r\n",
    "length and chunks": head(STRIPE, [(b"Content-Length", b"2"), (b"Transfer-Encoding", b"chunked")]) + b"0\r\n\r\n",
    "two lengths": head(STRIPE, [(b"Content-Length", b"2"), (b"Content-Length", b"3")]) + b"{}",
    "a negative length": head(STRIPE, [(b"Content-Length", b"-1")]),
    "a hexadecimal length": head(STRIPE, [(b"Content-Length", b"0x2")]) + b"{}",
    "a length past 64 bits": head(STRIPE, [(b"Content-Length", b"9" * 30)]),
    "a bad chunk": head(STRIPE, [(b"Transfer-Encoding", b"chunked")]) + b"zz\r\n{}\r\n",
    "NUL in a header": head(STRIPE, [(b"X", b"a\0b")]),
}


@BOTH
async def test_malformed(ledger: Ledger, start: Start, accounts: Accounts, door: str) -> None:
    """The parser's own refusals; the service lives on."""
    async with start(door) as served:
        for case, raw in MALFORMED.items():
            async with Line(served.port) as line:
                assert (await line.ask(raw)).status == 400, case
                assert await line.ended(), case
        assert (await served.post(accounts["stripe"].sent())).status == 200
    assert (await ledger.counts())["event"] == 1


@BOTH
async def test_exactly_at_the_limit(ledger: Ledger, start: Start, accounts: Accounts, door: str) -> None:
    stripe = accounts["stripe"]
    body = b'{"id":"evt_1","note":"%b"}'
    sent = stripe.sealed(body % (b"x" * (LIMIT - len(body) + 2)))
    assert len(sent.body) == LIMIT
    async with start(door) as served:
        assert (await served.post(sent)).status == 200
        async with Line(served.port) as line:
            assert (await line.ask(chunked(sent.path, sent.headers, [sent.body[:7], sent.body[7:]]))).status == 200
    assert await ledger.query("SELECT body FROM receiver.event") == [(sent.body,)], "and not a byte less"


@BOTH
async def test_a_slow_body(ledger: Ledger, start: Start, accounts: Accounts, door: str) -> None:
    """One deadline for the whole of it: a byte now and then does not buy more time."""
    sent, loop = accounts["stripe"].sent(), asyncio.get_running_loop()
    async with start(door, body_deadline=0.4) as served, Line(served.port) as line:
        began = loop.time()
        await line.send(sent.raw[: -len(sent.body)])

        async def drip() -> None:
            for place in range(100):
                await line.send(sent.body[place : place + 1])
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        reply = await line.reply(3)
        assert (reply.status, reason(reply)) == (408, "body_timeout")
        assert 0.3 < loop.time() - began < 2.5
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        assert await line.ended()
        assert served.counted("receiver_failed_total", source="stripe", reason="body_timeout") == 1
    assert await ledger.counts() == {}


@BOTH
async def test_a_connection_goes_on_after_errors(ledger: Ledger, start: Start, accounts: Accounts, door: str) -> None:
    stripe = accounts["stripe"]
    good = [stripe.sent() for _ in range(4)]
    forged = stripe.sent().with_body(b"{}")
    async with start(door) as served, Line(served.port) as line:
        statuses = []
        for number, sent in enumerate(good):
            statuses.append((await line.ask(sent.raw)).status)
            between = [forged.raw, request(STRIPE, method="GET"), request("/callbacks/nobody", body=b"{}")]
            statuses.append((await line.ask(between[number % 3])).status)
            assert (await line.ask(request("/livez", method="GET"))).body == b"ok"
        assert statuses == [200, 401, 200, 405, 200, 404, 200, 401]
    assert await ledger.stored() == {sent.external_id: 1 for sent in good}


@BOTH
async def test_pipelined_requests_keep_their_order(ledger: Ledger, start: Start, accounts: Accounts, door: str) -> None:
    stripe, standard = accounts["stripe"], accounts["standardwebhooks"]
    one, two, three = stripe.sent(), standard.sent(), stripe.sent()
    live = request("/livez", method="GET")
    forged = stripe.sent().with_body(b"{}").raw
    async with start(door) as served, Line(served.port) as line:
        await line.send(one.raw + live + two.raw + forged + three.raw + live + one.raw)
        replies = [await line.reply() for _ in range(7)]
        assert [reply.status for reply in replies] == [200, 200, 204, 401, 200, 200, 200]
        assert (replies[1].body, replies[5].body) == (b"ok", b"ok")
        async with locked(ledger.database_url):
            await line.send(stripe.sent().raw)
            await ledger.until(BLOCKED)
            await line.send(forged + live)
            reading = asyncio.create_task(line.reply())
            await asyncio.wait([reading], timeout=0.1)
            assert not reading.done(), "the later ones wait for the first"
        assert [(await reading).status, *[(await line.reply()).status for _ in range(2)]] == [200, 401, 200]
    assert (await ledger.counts())["event"] == 4


@BOTH
@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [("1.0", b"", False), ("1.1", b"close", False), ("1.1", b"keep-alive", True), ("1.1", b"", True)],
)
async def test_connections_that_end(
    start: Start, accounts: Accounts, *, door: str, version: str, connection: bytes, kept: bool
) -> None:
    sent = accounts["stripe"].sent()
    forged = sent.with_body(b"{}")
    extra = [(b"Connection", connection)] if connection else []
    async with start(door) as served:
        for one, status in ((sent, 200), (forged, 401)):
            async with Line(served.port) as line:
                raw = request(one.path, [*one.headers, *extra], one.body, version=version)
                assert (await line.ask(raw)).status == status
                if kept:
                    assert (await line.ask(raw)).status == status
                else:
                    assert await line.ended()


@BOTH
async def test_a_client_that_asks_first(ledger: Ledger, start: Start, accounts: Accounts, door: str) -> None:
    sent = accounts["stripe"].sent()
    asking = [*sent.headers, (b"Expect", b"100-continue"), (b"Content-Length", b"%d" % len(sent.body))]
    async with start(door) as served, Line(served.port) as line:
        assert (await line.ask(head(sent.path, asking))).status == 100
        assert (await line.ask(sent.body)).status == 200
        assert (await line.ask(sent.raw)).status == 200
    assert await ledger.stored() == {sent.external_id: 1}


@pytest.mark.parametrize("cut", [0, 1, 40], ids=["one piece", "body apart", "body in two"])
async def test_a_client_that_would_rather_speak_http_2(
    ledger: Ledger, start: Start, accounts: Accounts, cut: int
) -> None:
    """Java's own client offers h2c with every request; the offer is declined by an answer in HTTP/1.1.

    The fast door only: under another server, what becomes of such a body is that server's affair.
    """
    sent = accounts["stripe"].sent()
    offer = [
        (b"Connection", b"Upgrade, HTTP2-Settings"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"AAEAAEAAAAIAAAAB"),
    ]
    raw = request(sent.path, [*sent.headers, *offer], sent.body)
    pieces = [raw[: len(raw) - len(sent.body) + cut - 1], raw[len(raw) - len(sent.body) + cut - 1 :]] if cut else [raw]
    async with start("fast") as served:
        for _ in range(2):
            async with Line(served.port) as line:
                for piece in pieces:
                    await line.send(piece)
                assert (await line.reply()).status == 200
    assert await ledger.stored() == {sent.external_id: 1}


@BOTH
@pytest.mark.parametrize("size", [1, 2, 7, 100])
async def test_many_segments(ledger: Ledger, start: Start, accounts: Accounts, door: str, size: int) -> None:
    """Cut anywhere: in a header's name, in the length, in the body."""
    sent = accounts["alipay"].sent()
    async with start(door) as served, Line(served.port) as line:
        for place in range(0, len(sent.raw), size):
            await line.send(sent.raw[place : place + size])
            if place % 50 == 0:
                await asyncio.sleep(0)
        assert (await line.reply()).body == b"success"
    assert await ledger.query("SELECT body FROM receiver.event") == [(sent.body,)]


@BOTH
async def test_escapes_and_queries_in_the_path(ledger: Ledger, start: Start, accounts: Accounts, door: str) -> None:
    """As a proxy may write them: they are the same path."""
    sent = accounts["stripe"].sent()
    async with start(door) as served:
        for path in ("/callbacks/str%69pe", "/callbacks/stripe?x=1", "/callbacks/stripe?"):
            async with Line(served.port) as line:
                assert (await line.ask(request(path, sent.headers, sent.body))).status == 200, path
    assert await ledger.stored() == {sent.external_id: 1}


@BOTH
async def test_a_client_that_leaves_is_stored_all_the_same(
    ledger: Ledger, start: Start, accounts: Accounts, door: str
) -> None:
    first, second = accounts["stripe"].sent(), accounts["stripe"].sent()
    async with start(door) as served:
        async with locked(ledger.database_url):
            for sent in (first, second):  # the first waits in Postgres, the second in the queue
                async with Line(served.port) as line:
                    await line.send(sent.raw)
                    await ledger.until(BLOCKED)
        await ledger.until("SELECT count(*) = 2 FROM receiver.event")
        assert (await served.post(first)).status == 200
    assert await ledger.stored() == {first.external_id: 1, second.external_id: 1}


@BOTH
async def test_a_client_that_leaves_in_the_middle_of_its_body(
    ledger: Ledger, start: Start, accounts: Accounts, door: str
) -> None:
    sent = accounts["stripe"].sent()
    async with start(door, body_deadline=0.3) as served:
        for _ in range(3):
            async with Line(served.port) as line:
                await line.send(sent.raw[:-10])
        assert (await served.post(sent)).status == 200
        await asyncio.sleep(0.4)  # the deadline of those bodies passes, and nothing comes of it
        assert (await served.post(sent)).status == 200
    assert await ledger.stored() == {sent.external_id: 1}


async def test_a_slow_head(start: Start) -> None:
    """Bytes now and then do not buy more time."""
    async with start(body_deadline=0.4) as served, Line(served.port) as line:
        await line.send(b"POST /callbacks/stripe HTTP/1.1\r\n")
        for number in range(3):
            await line.send(b"x%d: y\r\n" % number)
        reply = await line.reply(3)
        assert (reply.status, reason(reply)) == (408, "head_timeout")
        assert await line.ended()


async def test_a_head_without_end(start: Start) -> None:
    async with start() as served, Line(served.port) as line:
        await line.send(b"POST /callbacks/stripe HTTP/1.1\r\n")
        try:
            for _ in range(100):
                await line.send(b"x: " + b"y" * 60_000 + b"\r\n")
            reply = await line.reply(3)
        except ConnectionError:  # cut while we were still sending, so the answer may be lost
            return
        assert (reply.status, reason(reply)) == (431, "head_too_large")


async def test_a_head_in_pieces(ledger: Ledger, start: Start, accounts: Accounts) -> None:
    """On one connection twice: nothing is left over from the first."""
    first, second = (accounts["stripe"].sent() for _ in range(2))
    async with start(body_deadline=0.5) as served, Line(served.port) as line:
        for place in range(0, len(first.raw), 100):
            await line.send(first.raw[place : place + 100])
            await asyncio.sleep(0.005)  # else all pieces arrive as one
        assert (await line.reply(3)).status == 200
        await line.send(second.raw[:40])
        await asyncio.sleep(0.005)
        await line.send(second.raw[40:])
        assert (await line.reply(3)).status == 200
        await asyncio.sleep(0.7)  # longer than the deadline that a piece of a head had begun
        assert (await line.ask(first.raw)).status == 200
    assert await ledger.stored() == {first.external_id: 1, second.external_id: 1}
