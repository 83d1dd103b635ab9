"""Tokens that come back with callbacks: who calls is known by them, and each opens what it was used for first."""

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

import pytest

from receiver import Receiver
from receiver.errors import StoreRefused
from receiver.events import Held
from receiver.inbox import Outcome
from receiver.settings import made
from receiver.sources import build_sources, made_up
from receiver.tokens import CALLBACK, ISSUED, TokenSigner
from tests.ingress.accounts import Sent
from tests.ingress.inboxes import arrival, submit
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program, ended
from tests.ingress.serving import DOORS, Serving, serving
from tests.ingress.wire import Line, Reply, ask, request

KEY: Final = "a key for the tokens of these tests, made up"
SIGNER: Final = TokenSigner([KEY.encode()], CALLBACK)
FORM: Final = ((b"content-type", b"application/x-www-form-urlencoded"),)
FIELD: Final = "data.object.metadata.token"
SOURCES: Final[Mapping[str, Mapping[str, object]]] = {
    "mollie": {"provider": "mollie", "verification": "none", "token": "url"},
    "other": {"provider": "mollie", "verification": "none", "token": "url"},
    "toss": made_up("toss") | {"verification": "none", "token": "url"},
    "stripe": made_up("stripe") | {"token": "field", "token_field": FIELD},
    "single": made_up("stripe") | {"token": "url", "token_for": "event"},
    "alipay": made_up("alipay") | {"token": "url"},
    "plain": made_up("stripe"),
}
BUILT: Final = build_sources(made(token_keys=[KEY], sources=dict(SOURCES)), Path())
CREATED: Final = int(time.time())


class Starts(Protocol):
    """Starts the service with all of these sources, behind a door of choice."""

    def __call__(self, door: str = "fast") -> AbstractAsyncContextManager[Serving]: ...


@pytest.fixture
def start(ledger: Ledger) -> Starts:
    settings = made(
        database_url=ledger.database_url, redis_url=ledger.redis_url, token_keys=[KEY], sources=dict(SOURCES)
    )
    return lambda door="fast": serving(Receiver(settings), settings, door)


def token(source: str = "mollie", *, seconds: float = 60) -> str:
    return SIGNER.issue(source, int(time.time() + seconds))[0]


def classic(payment: str, with_token: str | None, source: str = "mollie") -> Sent:
    """Mollie's classic callback: an id and nothing else."""
    return Sent(address(source, with_token), FORM, b"id=" + payment.encode())


def address(source: str, with_token: str | None) -> str:
    return f"/callbacks/{source}" if with_token is None else f"/callbacks/{source}/{with_token}"


def signed(source: str, what: str, entity: str, with_token: str | None, *, event: str | None = None) -> Sent:
    """A sample, signed by the provider's own `sign`; the token in the path."""
    there = BUILT[source]
    external = event or there.provider.sample_id(f"{entity}{what}", CREATED)
    payload = there.provider.sample(what, external_id=external, entity_id=entity, created=CREATED)
    if source == "stripe":
        data = payload["data"]
        assert isinstance(data, dict)
        data["object"]["metadata"] = {} if with_token is None else {"token": with_token}
        with_token = None
    made_here = there.sign(payload, time.time())
    headers = tuple((name.lower().encode(), value.encode()) for name, value in made_here.headers)
    return Sent(address(source, with_token), headers, made_here.body, external)


def reason(reply: Reply) -> tuple[int, str]:
    """What a refusal says."""
    return reply.status, str(json.loads(reply.body)["reason"])


async def kept(ledger: Ledger) -> dict[str, int]:
    counts = await ledger.counts()
    return {name: counts.get(name, 0) for name in ("event", "quarantine")}


async def bound(ledger: Ledger) -> int:
    return int(str(await ledger.value("SELECT count(*) FROM receiver.callback_token")))


# Without a token of ours: nothing is kept of it, anywhere.

GARBAGE: Final = {
    "nothing behind the slash": "",
    "a word": "abracadabra",
    "a letter changed": token()[:-2] + "AA",
    "a letter more": token() + "A",
    "in two parts": token()[:25] + "/" + token()[25:],
    "with a slash behind it": token() + "/",
    "an escaped NUL": "%00" + token()[3:],
    "an escaped slash": token()[:25] + "%2F" + token()[26:],
    "an escape that is none": "%zz" + token()[3:],
    "letters of another alphabet": "%D1%82%D0%BE%D0%BA%D0%B5%D0%BD",
    "no UTF-8": "%ff%fe" + token()[2:],
    "very long": "A" * 60_000,
    "a token of requests": TokenSigner([KEY.encode()], ISSUED).issue("mollie", int(time.time()) + 60)[0],
    "of another source": token("other"),
    "of another's key": TokenSigner([b"a stranger's"], CALLBACK).issue("mollie", int(time.time()) + 60)[0],
}


@pytest.mark.parametrize("door", DOORS)
async def test_what_was_not_made_here(start: Starts, ledger: Ledger, door: str) -> None:
    async with start(door) as served:
        assert reason(await served.post(classic("tr_1", None))) == (401, "token_missing")
        assert reason(await served.post(classic("tr_1", token(seconds=-1)))) == (401, "token_expired")
        for case, text in GARBAGE.items():
            expected = "token_foreign" if text else "token_missing"
            reply = await served.post(classic("tr_1", text))
            assert reason(reply) == (401, expected), case
            assert text.encode() not in reply.body or not text, "nothing of it comes back"
        assert served.counted("receiver_rejected_total", source="mollie", reason="token_missing") == 2
        assert served.counted("receiver_rejected_total", source="mollie", reason="token_foreign") == len(GARBAGE) - 1
        # A path goes on behind the name only where a token is wanted there.
        for source in ("plain", "stripe", "nobody"):
            assert reason(await served.post(classic("tr_1", token(source), source))) == (404, "source_unknown")
        assert (await served.post(signed("plain", "paid", "pi_1", None))).status == 200, "others need none"
    assert await kept(ledger) == {"event": 1, "quarantine": 0}
    assert await bound(ledger) == 0


async def test_nothing_goes_to_redis(start: Starts, ledger: Ledger) -> None:
    async with start() as served:
        for sent in (classic("tr_1", None), classic("tr_1", token("other")), classic("tr_1", token(seconds=-1))):
            assert (await served.post(sent)).status == 401
    assert await ledger.redis_keys() == 0
    assert await ledger.counts() == {}


# With one.


@pytest.mark.parametrize("door", DOORS)
async def test_who_calls_is_known_by_it(start: Starts, ledger: Ledger, door: str) -> None:
    async with start(door) as served:
        assert (await served.post(classic("tr_1", token()))).status == 200
        assert (await served.post(signed("toss", "paid", "pay1", token("toss")))).status == 200
        assert (await served.post(signed("alipay", "paid", "2026", token("alipay")))).status == 200
    trust = await ledger.query("SELECT source, trust FROM receiver.event ORDER BY source")
    assert trust == [("alipay", "signed"), ("mollie", "sender"), ("toss", "sender")]


async def test_escapes_and_a_query_are_read_as_http_reads_them(start: Starts) -> None:
    async with start() as served:
        text = token()
        for spelled in (f"{text}?from=mollie", f"%{ord(text[0]):02X}{text[1:]}"):
            assert (await served.post(classic("tr_1", spelled))).status == 200


async def test_a_payment_has_several_callbacks_and_no_other_payment_has_its_token(
    start: Starts, ledger: Ledger
) -> None:
    mine = token()
    async with start() as served:
        for _ in range(3):  # paid, then refunded, then charged back: Mollie's classic callback is the same each time
            assert (await served.post(classic("tr_1", mine))).status == 200
        for _ in range(2):
            assert reason(await served.post(classic("tr_2", mine))) == (401, "token_repeated")
        assert (await served.post(classic("tr_2", token()))).status == 200, "with a token of its own"
        assert (await served.post(classic("tr_1", mine))).status == 200
        assert served.counted("receiver_rejected_total", source="mollie", reason="token_repeated") == 2
    assert await kept(ledger) == {"event": 5, "quarantine": 1}
    (row,) = await ledger.query("SELECT reason, external_id, body, deliveries FROM receiver.quarantine")
    assert (row[0], row[2], row[3]) == ("token_repeated", b"id=tr_2", 2), "it is kept, for it may be about money"
    assert await bound(ledger) == 2


async def test_an_address_for_all_payments(start: Starts, ledger: Ledger) -> None:
    """Toss is told one address for the whole shop: its token opens all, and nothing is written of it."""
    ours = token("toss")
    async with start() as served:
        for entity in ("pay1", "pay2"):
            for what in ("paid", "refunded", "paid"):
                assert (await served.post(signed("toss", what, entity, ours, event=what))).status == 200
    assert (await kept(ledger))["event"] == 4
    assert await bound(ledger) == 0


async def test_a_second_lock(start: Starts, ledger: Ledger) -> None:
    """Neither opens without the other."""
    mine = token("alipay")
    genuine = signed("alipay", "paid", "2026", mine)
    async with start() as served:
        assert reason(await served.post(genuine.with_body(genuine.body + b"&x=1")))[0] == 401
        assert reason(await served.post(signed("alipay", "paid", "2026", None))) == (401, "token_missing")
        assert reason(await served.post(signed("alipay", "paid", "2026", token()))) == (401, "token_foreign")
        assert await kept(ledger) == {"event": 0, "quarantine": 0}
        for _ in range(2):
            assert (await served.post(genuine)).status == 200
    assert await kept(ledger) == {"event": 1, "quarantine": 0}


async def test_in_a_field(start: Starts, ledger: Ledger) -> None:
    mine = token("stripe")
    async with start() as served:
        assert reason(await served.post(signed("stripe", "paid", "pi_1", None))) == (401, "token_missing")
        assert reason(await served.post(signed("stripe", "paid", "pi_1", token()))) == (401, "token_foreign")
        for what in ("paid", "paid", "failed"):
            assert (await served.post(signed("stripe", what, "pi_1", mine, event=f"evt_{what}"))).status == 200
        assert reason(await served.post(signed("stripe", "paid", "pi_2", mine))) == (401, "token_repeated")
    assert await kept(ledger) == {"event": 2, "quarantine": 1}


async def test_one_event_and_its_resends(start: Starts, ledger: Ledger) -> None:
    mine = token("single")
    async with start() as served:
        for _ in range(2):
            assert (await served.post(signed("single", "paid", "pi_1", mine, event="evt_1"))).status == 200
        other = signed("single", "failed", "pi_1", mine, event="evt_2")
        assert reason(await served.post(other)) == (401, "token_repeated")
        await ledger.until("SELECT count(*) = 1 FROM receiver.event")
        assert await ledger.redis_keys() == 1, "no mark calls a duplicate what was refused"
        own = signed("single", "failed", "pi_1", token("single"), event="evt_2")
        assert (await served.post(own)).status == 200
    assert await kept(ledger) == {"event": 2, "quarantine": 1}


async def test_several_facts_under_one_answer(start: Starts, ledger: Ledger) -> None:
    """Each is judged by its own token: what one refuses costs the others nothing, and is what is heard."""
    used, fresh = (Held(nonce=bytes([n] * 16), subject=b"of a payment") for n in (1, 2))
    other = Held(nonce=used.nonce, subject=b"of another payment")
    async with start() as served:
        assert served.inbox is not None
        assert await submit(served.inbox, [arrival("first", token=used)]) is Outcome.STORED
        rows = [arrival("good", token=fresh), arrival("bad", token=other), arrival("first", token=used)]
        assert await submit(served.inbox, rows) is Outcome.REPEATED
        assert await submit(served.inbox, rows[::2]) is Outcome.DUPLICATE
    assert set(await ledger.stored()) == {"first", "good"}


async def test_what_is_not_stored_uses_no_token(start: Starts, ledger: Ledger) -> None:
    """The token is used in the same transaction, which PostgreSQL refuses."""
    mine = Held(nonce=b"n" * 16, subject=b"of a payment")
    other = Held(nonce=mine.nonce, subject=b"of another payment")
    async with start() as served:
        assert served.inbox is not None
        refused = await submit(served.inbox, [arrival("a", type="\0", token=mine)])
        assert isinstance(refused, StoreRefused)
        assert await bound(ledger) == 0
        assert await submit(served.inbox, [arrival("b", token=other)]) is Outcome.STORED


async def test_a_resend_is_acknowledged_whatever_token_it_brings(start: Starts, ledger: Ledger) -> None:
    """It changes nothing, and the token that it brings is still good for its own payment."""
    first, second, third = (token("single") for _ in range(3))
    async with start() as served:
        assert (await served.post(signed("single", "paid", "pi_1", first, event="evt_1"))).status == 200
        assert (await served.post(signed("single", "paid", "pi_3", third, event="evt_3"))).status == 200
        for one in (second, third):
            assert (await served.post(signed("single", "paid", "pi_1", one, event="evt_1"))).status == 200
        assert (await served.post(signed("single", "paid", "pi_2", second, event="evt_2"))).status == 200
    assert await kept(ledger) == {"event": 3, "quarantine": 0}


@pytest.mark.parametrize("processes", [1, 2])
async def test_two_first_callbacks_at_once(start: Starts, ledger: Ledger, processes: int) -> None:
    """One is taken, whichever; the other is refused, in one process as between two."""
    rounds = 12
    async with start() as one, start() as two:
        for number in range(rounds):
            mine = token()
            sent = [classic(f"tr_{number}_{which}", mine) for which in "ab"]
            places = [one, two if processes == 2 else one]
            replies = await asyncio.gather(*(place.post(each) for place, each in zip(places, sent, strict=True)))
            assert sorted(reply.status for reply in replies) == [200, 401]
            taken = sent[[reply.status for reply in replies].index(200)]
            assert (await two.post(taken)).status == 200
    assert await kept(ledger) == {"event": 2 * rounds, "quarantine": rounds}
    assert await bound(ledger) == rounds


async def test_the_server_dies_between_commit_and_answer(tmp_path: Path, ledger: Ledger) -> None:
    program = Program(
        tmp_path,
        {
            "database_url": ledger.database_url,
            "redis_url": ledger.redis_url,
            "port": 0,
            "operator_port": 0,
            "token_keys": [KEY],
        },
        {"single": SOURCES["single"]},
    )
    mine = token("single")
    sent = signed("single", "paid", "pi_1", mine, event="evt_1")
    try:
        dying = await asyncio.to_thread(program.start, "serve", failpoint="before_answer")
        async with Line(program.port) as line:
            await line.send(sent.raw)
            assert await line.ended()
        assert ended(dying) == -signal.SIGKILL
        assert await bound(ledger) == 1
        await asyncio.to_thread(program.start, "serve")
        assert (await ask(program.port, sent.raw)).status == 200, "the resend"
        other = signed("single", "failed", "pi_1", mine, event="evt_2")
        assert reason(await ask(program.port, other.raw)) == (401, "token_repeated")
        assert mine not in program.log.read_text(), "who reads the log has no token"
    finally:
        program.stop()
    assert await kept(ledger) == {"event": 1, "quarantine": 1}


async def test_pipelined_and_whole(start: Starts) -> None:
    """Several on one connection, and one in pieces: the token belongs to its own request."""
    mine = token()
    good, bad = classic("tr_1", mine), classic("tr_1", token("other"))
    async with start() as served, Line(served.port) as line:
        await line.send(good.raw + bad.raw + good.raw)
        assert [(await line.reply()).status for _ in range(3)] == [200, 401, 200]
        for piece in (good.raw[:30], good.raw[30:90], good.raw[90:]):
            await line.send(piece)
        assert (await line.reply()).status == 200
        assert reason(await line.ask(request(address("mollie", mine), FORM, method="PUT"))) == (
            405,
            "method_not_allowed",
        )
