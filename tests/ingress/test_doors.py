"""Three ways in, one behaviour: whatever is sent, each door gives the same answer and leaves the same rows."""

import asyncio
from collections.abc import Mapping

import pytest

from tests.databases import Databases
from tests.ingress.accounts import NAMES, Account
from tests.ingress.conftest import LIMIT, Start
from tests.ingress.ledger import Ledger
from tests.ingress.serving import DOORS, Serving
from tests.ingress.wire import Line, Reply, chunked, head, request

Accounts = Mapping[str, Account]


def requests(accounts: Accounts) -> dict[str, bytes]:
    """What is sent to every door, in this order."""
    sent = {name: accounts[name].sent() for name in NAMES}
    odd = {name: accounts[name].sealed(b"x=1") for name in NAMES}
    stripe = sent["stripe"]
    return {
        **{f"{name}: new": one.raw for name, one in sent.items()},
        **{f"{name}: again": one.raw for name, one in sent.items()},
        **{f"{name}: odd": one.raw for name, one in odd.items()},
        **{f"{name}: forged": one.with_body(b"{}").raw for name, one in sent.items()},
        **{f"{name}: GET": request(f"/callbacks/{name}", method="GET") for name in NAMES},
        "chunked": chunked(stripe.path, stripe.headers, [stripe.body[:5], stripe.body[5:]]),
        "too large": request(stripe.path, stripe.headers, b"x" * (LIMIT + 1)),
        "too large in chunks": chunked(stripe.path, stripe.headers, [b"x" * LIMIT, b"x"]),
        "compressed": request(stripe.path, [*stripe.headers, (b"Content-Encoding", b"gzip")], stripe.body),
        "nobody": request("/callbacks/nobody", stripe.headers, stripe.body),
        "empty": head(stripe.path, stripe.headers),
        "not ours": request("/elsewhere", method="GET"),
        "alive": request("/livez", method="GET"),
    }


async def answers(served: Serving, raws: Mapping[str, bytes]) -> dict[str, Reply]:
    """What a door says, each time on a new connection."""
    found = {}
    for case, raw in raws.items():
        async with Line(served.port) as line:
            method, _, rest = raw.partition(b" ")
            found[case] = await line.ask(method + b" " + served.prefix.encode() + rest)
    return found


async def test_equal_answers_and_rows(accounts: Accounts, databases: Databases, redis_url: str, start: Start) -> None:
    raws = requests(accounts)
    said: dict[str, dict[str, Reply]] = {}
    kept: dict[str, dict[str, int]] = {}
    for door in DOORS:
        ledger = Ledger(await asyncio.to_thread(databases.make_migrated), redis_url)
        async with start(door, database_url=ledger.database_url) as served:
            said[door] = await answers(served, raws)
            kept[door] = await ledger.counts()
    for case in raws:
        assert said["fast"][case] == said["asgi"][case], case
        assert said["fast"][case] == said["mounted"][case], case
    assert kept["fast"] == kept["asgi"] == kept["mounted"]
    assert kept["fast"]["event"] == 4
    assert said["fast"]["too large"].status == 413
    assert said["fast"]["wechatpay: forged"].body.count(b'"code":"FAIL"') == 1


@pytest.mark.parametrize("door", DOORS)
async def test_the_same_counts(accounts: Accounts, start: Start, door: str) -> None:
    stripe = accounts["stripe"]
    sent = stripe.sent()
    async with start(door) as served:
        for one in (sent, sent, sent.with_body(b"{}"), stripe.sealed(b"[]")):
            await served.post(one)
        counted = {
            result: served.counted("receiver_callbacks_total", source="stripe", result=result)
            for result in ("accepted", "duplicate", "quarantined", "conflict")
        }
        assert counted == {"accepted": 1, "duplicate": 1, "quarantined": 1, "conflict": 0}
        assert served.counted("receiver_rejected_total", source="stripe", reason="signature_mismatch") == 1


@pytest.mark.parametrize("door", ["fast", "asgi"])
@pytest.mark.parametrize("odd", [False, True])
async def test_what_has_begun_to_arrive_is_taken_as_before(
    accounts: Accounts, ledger: Ledger, start: Start, door: str, odd: bool
) -> None:
    """Although meanwhile, and twice, the name has become another provider's."""
    alipay, stranger = accounts["alipay"], accounts["stripe"]
    raw = (alipay.sealed(b"x=1") if odd else alipay.sent()).raw
    async with start(door) as served, Line(served.port) as line, Line(served.port) as other:
        await line.send(raw[:-1])
        await other.ask(request("/livez", method="GET"))  # so the other has been read
        assert served.intake is not None
        for _ in range(2):
            served.intake.serve({"alipay": stranger.source, "new": stranger.source})
        reply = await line.ask(raw[-1:])
        assert (reply.status, reply.body) == (200, b"success")
        assert (await other.ask(stranger.sent().raw)).status == 404
    counts = await ledger.counts()
    assert counts["quarantine" if odd else "event"] == 1
