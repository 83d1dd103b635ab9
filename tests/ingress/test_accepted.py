"""A genuine callback is stored once, with what is owed to handlers, and answered as its provider expects."""

import asyncio
import hashlib
import json
from collections.abc import Mapping

import pytest

from receiver.inbox.key import dedup_key
from tests.ingress.accounts import NAMES, Account
from tests.ingress.conftest import Start
from tests.ingress.ledger import Ledger, until
from tests.ingress.serving import DOORS
from tests.ingress.wire import Line

ACKS = {"stripe": (200, b""), "standardwebhooks": (204, b""), "alipay": (200, b"success"), "wechatpay": (204, b"")}
OWED = {"stripe": 2, "standardwebhooks": 1, "alipay": 1, "wechatpay": 1}
IDENTITY = """
SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' ||
       (SELECT lpad(to_hex(timeline_id), 8, '0') FROM pg_control_checkpoint()) || '/' ||
       (SELECT oid FROM pg_database WHERE datname = current_database())::text || '/' ||
       (SELECT id FROM receiver.installation)::text
"""


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", NAMES)
async def test_stored_once_and_acknowledged(
    accounts: Mapping[str, Account], ledger: Ledger, start: Start, name: str, door: str
) -> None:
    sent = accounts[name].sent()
    async with start(door) as served, Line(served.port) as line:
        replies = [await line.ask(served.raw(sent)) for _ in range(3)]
        assert await ledger.counts() == {"dedup_key": 1, "event": 1, "dispatch": OWED[name]}
        assert [(reply.status, reply.body) for reply in replies] == [ACKS[name]] * 3
        if ACKS[name][0] == 204:
            assert "content-length" not in replies[0].headers, "RFC 9110, 8.6: a 204 has none"
        elif name == "alipay":
            assert replies[0].headers["content-type"] == "text/plain"
        assert served.counted("receiver_callbacks_total", source=name, result="accepted") == 1
        assert served.counted("receiver_callbacks_total", source=name, result="duplicate") == 2
    ((source, provider, external_id, body, headers, duplicates),) = await ledger.query(
        "SELECT source, provider, external_id, body, headers, k.duplicates"
        " FROM receiver.event e JOIN receiver.dedup_key k ON k.event_id = e.id AND k.key = e.key"
    )
    assert (source, provider, external_id, body) == (name, name, sent.external_id, sent.body)
    keep = accounts[name].source.provider.keep_headers
    assert json.loads(str(headers)) == {n.decode(): v.decode() for n, v in sent.headers if n in keep}
    assert duplicates == 2, "counted behind the answers, at the latest when the server ends"


@pytest.mark.parametrize("name", NAMES)
async def test_the_mark_names_this_postgres(
    accounts: Mapping[str, Account], ledger: Ledger, start: Start, name: str
) -> None:
    sent = accounts[name].sent()
    async with start() as served:
        await served.post(sent)

        async def marked() -> bool:
            return await ledger.redis_keys() > 0

        assert await until(marked)
        ((key, fingerprint),) = await ledger.query("SELECT key, fingerprint FROM receiver.dedup_key")
        identity = hashlib.sha256(str(await ledger.value(IDENTITY)).encode()).hexdigest()[:16]
        assert isinstance(key, bytes)
        assert isinstance(fingerprint, bytes)
        expected = f"receiver:mark:{identity}:".encode() + key
        assert await ledger.marks() == {expected: b"stored:" + fingerprint}
        assert key[4:] == dedup_key(name, sent.external_id, 0)[4:]


async def test_marks_expire(accounts: Mapping[str, Account], ledger: Ledger, start: Start) -> None:
    async with start(mark_ttl=1) as served:
        await served.post(accounts["stripe"].sent())

        async def gone() -> bool:
            return await ledger.redis_keys() == 0 and bool(await ledger.stored())

        assert await until(gone, 5)


async def test_the_times_of_an_event(accounts: Mapping[str, Account], ledger: Ledger, start: Start) -> None:
    sent = accounts["stripe"].sent(created=1_700_000_000)
    async with start() as served:
        await served.post(sent)
    ((hour, occurred, fresh),) = await ledger.query(
        "SELECT key, extract(epoch FROM occurred_at)::bigint, received_at > now() - interval '1 minute'"
        " FROM receiver.event"
    )
    assert isinstance(hour, bytes)
    assert (int.from_bytes(hour[:4], "big"), occurred, fresh) == (1_700_000_000 // 3600, 1_700_000_000, True)


async def test_many_at_once_of_all_providers(accounts: Mapping[str, Account], ledger: Ledger, start: Start) -> None:
    """Each arrives three times, in any order, over several connections."""
    sent = [accounts[name].sent() for name in NAMES for _ in range(25)]
    async with start() as served:
        replies = await asyncio.gather(*(served.post(one) for one in sent * 3))
        assert {reply.status for reply in replies} == {200, 204}
    assert await ledger.stored() == {one.external_id: 1 for one in sent}
    assert (await ledger.counts())["dispatch"] == 25 * sum(OWED.values())
