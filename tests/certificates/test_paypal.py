"""PayPal's certificates, fetched from a real TLS server while callbacks wait: which ones count, and which do not."""

import asyncio
import datetime as dt
import re
import time
from collections.abc import Callable, Mapping

import pytest

from receiver.certificates import keyring, limits
from tests.certificates.conftest import ADDRESS, HOST, NAME, PATH, Game, Scene, running
from tests.certificates.publisher import PUBLIC, said
from tests.ingress.accounts import Account
from tests.ingress.ledger import Ledger, until
from tests.ingress.wire import Reply
from tests.sources.authorities import authority, leaf

OVER = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
LATER = dt.datetime(2033, 1, 1, tzinfo=dt.UTC)
SANDBOX = "messageverificationcerts.sandbox.paypal.com"


def reason(reply: Reply) -> str:
    """The reason in a problem."""
    return reply.body.partition(b'"reason":"')[2].partition(b'"')[0].decode()


async def test_a_certificate_is_fetched_once(scene: Scene, game: Game) -> None:
    """Ten callbacks at once, and one afterwards."""
    sent = [game.sent() for _ in range(10)]
    replies = await asyncio.gather(*(scene.served.post(one) for one in sent))
    assert {reply.status for reply in replies} == {200}
    assert (await scene.served.post(game.sent())).status == 200
    assert scene.publisher.asked == [PATH]
    assert (await scene.ledger.stored()).keys() >= {one.external_id for one in sent}
    assert scene.fetched("fetched") == 1


async def test_what_is_asked(scene: Scene, game: Game) -> None:
    await scene.served.post(game.sent())
    (head,) = scene.publisher.heads
    lines = head.lower().split(b"\r\n")
    assert lines[0] == f"get {PATH} http/1.1".encode().lower()
    assert f"host: {HOST}".encode() in lines
    assert not any(line.startswith((b"cookie", b"authorization")) for line in lines)


ADDRESSES: Mapping[str, str] = {
    "http": f"http://{HOST}{PATH}",
    "port": f"https://{HOST}:443{PATH}",
    "another port": f"https://{HOST}:8443{PATH}",
    "user": f"https://paypal@{HOST}{PATH}",
    "user that looks like the host": f"https://{HOST}@evil.example{PATH}",
    "host in front": f"https://{HOST}.evil.example{PATH}",
    "host behind": f"https://evil-{HOST}{PATH}",
    "host in the path": f"https://evil.example/{HOST}{PATH}",
    "another host of theirs": f"https://www.paypal.com{PATH}",
    "dot at the end": f"https://{HOST}.{PATH}",
    "upper case": f"https://{HOST.upper()}{PATH}",
    "look-alike letter": f"https://api.p\u0430ypal.com{PATH}",
    "backslash": f"https://evil.example\\@{HOST}{PATH}",
    "fragment": f"https://{HOST}{PATH}#x",
    "fragment in the host": f"https://evil.example#@{HOST}{PATH}",
    "query": f"https://{HOST}{PATH}?x=1",
    "another path": f"https://{HOST}/v1/files/evil",
    "up the path": f"https://{HOST}/v1/notifications/certs/../../files/evil",
    "escaped": f"https://{HOST}/v1/notifications/certs/%2e%2e/evil",
    "space behind": f"{ADDRESS} x",
    "newline behind": f"{ADDRESS}\\nx",
    "address": f"https://127.0.0.1{PATH}",
    "no host": f"https://{PATH}",
    "file": "file:///etc/passwd",
    "nothing": "x",
}


@pytest.mark.parametrize("case", ADDRESSES)
async def test_addresses_that_are_not_paypals(module_scene: Scene, game: Game, case: str) -> None:
    """Refused at once, and nobody is asked for anything."""
    asked = module_scene.publisher.connections
    reply = await module_scene.served.post(game.sent(ADDRESSES[case]))
    expected = "certificate_address_forbidden" if ADDRESSES[case].isascii() else "header_malformed"
    assert (reply.status, reason(reply)) == (401, expected)
    assert module_scene.publisher.connections == asked


def from_another_root(game: Game) -> list[str]:
    """It comes along, but is none of those that the settings name."""
    root = authority("root")
    middle = authority("middle", root)
    return [leaf(NAME, game.key, middle, host=NAME).pem, middle.pem, root.pem]


CHAINS: Mapping[str, tuple[str, Callable[[Game], list[str]]]] = {
    "expired": ("certificate_expired", lambda g: [leaf(NAME, g.key, g.middle, host=NAME, ends=OVER).pem, g.middle.pem]),
    "not yet": (
        "certificate_expired",
        lambda g: [leaf(NAME, g.key, g.middle, host=NAME, begins=LATER).pem, g.middle.pem],
    ),
    "another name": (
        "certificate_untrusted",
        lambda g: [leaf("evil.example", g.key, g.middle, host="evil.example").pem, g.middle.pem],
    ),
    "the name as common name only": (
        "certificate_untrusted",
        lambda g: [leaf(NAME, g.key, g.middle, host="evil.example").pem, g.middle.pem],
    ),
    "the name as host only": (
        "certificate_untrusted",
        lambda g: [leaf("evil.example", g.key, g.middle, host=NAME).pem, g.middle.pem],
    ),
    "the sandbox's name on a live host": (
        "certificate_untrusted",
        lambda g: [leaf(SANDBOX, g.key, g.middle, host=SANDBOX).pem, g.middle.pem],
    ),
    "signed by itself": ("certificate_untrusted", lambda g: [leaf(NAME, g.key, None, host=NAME).pem]),
    "without what is between": ("certificate_untrusted", lambda g: [g.leaf.pem]),
    "from another root": ("certificate_untrusted", from_another_root),
    "an authority in the place of the leaf": ("certificate_untrusted", lambda g: [g.middle.pem, g.middle.pem]),
    "no certificate": ("certificate_malformed", lambda _: ["hello"]),
    "broken": ("certificate_malformed", lambda g: [g.leaf.pem.replace("M", "N")]),
    "nothing": ("certificate_malformed", lambda _: [""]),
    "too many": ("certificate_malformed", lambda g: [g.leaf.pem, *[g.middle.pem] * 9]),
}


@pytest.mark.parametrize("case", CHAINS)
async def test_certificates_that_are_not_paypals(module_scene: Scene, game: Game, case: str) -> None:
    """Published where PayPal publishes, and the signature fits: only the check of the chain is left."""
    expected, chain = CHAINS[case]
    path = f"/v1/notifications/certs/{re.sub('[^a-z]', '-', case)}"
    module_scene.publisher.answers[path] = "".join(chain(game)).encode()
    module_scene.forget()
    before = await module_scene.ledger.counts()
    for _ in range(2):
        reply = await module_scene.served.post(game.sent(f"https://{HOST}{path}"))
        assert (reply.status, reason(reply)) == (401, expected)
    assert module_scene.publisher.asked.count(path) == 1, "known for a minute"
    assert await module_scene.ledger.counts() == before
    assert not await module_scene.ledger.redis_keys()


ELSEWHERE = (
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%lo",
    "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "2002:7f00:1::1", "2001:db8::1", "not an address",
)  # fmt: skip


@pytest.mark.parametrize("address", ELSEWHERE)
async def test_names_that_lead_inside(module_scene: Scene, game: Game, address: str) -> None:
    """DNS says so; nobody is asked, and the callback may come again."""
    asked = module_scene.publisher.connections
    module_scene.forget()
    module_scene.publisher.addresses[HOST] = [PUBLIC, address]
    try:
        reply = await module_scene.served.post(game.sent(f"https://{HOST}{PATH}-inside"))
    finally:
        del module_scene.publisher.addresses[HOST]
    assert (reply.status, reason(reply)) == (503, "key_unavailable")
    assert reply.headers["retry-after"] == "5"
    assert module_scene.publisher.connections == asked


FAILURES: Mapping[str, Callable[[Game], bytes]] = {
    "redirect to a host of ours": lambda _: (
        b"HTTP/1.1 302 Found\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n"
    ),
    "redirect to itself": lambda _: f"HTTP/1.1 307 x\r\nlocation: {ADDRESS}\r\ncontent-length: 0\r\n\r\n".encode(),
    "redirect on the same server": lambda _: b"HTTP/1.1 302 x\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
    "redirect with the certificate": lambda g: said(g.chain).replace(b"200 OK", b"301 Moved"),
    "not found": lambda _: said(None),
    "their fault": lambda _: b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
    "no content": lambda _: b"HTTP/1.1 204 x\r\n\r\n",
    "oversize": lambda g: said(g.chain + b"\n" * 200_000),
    "oversize in chunks": lambda _: (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        b"ffff\r\n"
        + b"x" * 65535
        + b"\r\n"
        + b"ffff\r\n"
        + b"x" * 65535
        + b"\r\n"
        + b"ffff\r\n"
        + b"x" * 65535
        + b"\r\n0\r\n\r\n"
    ),
    "cut short": lambda g: said(g.chain)[:-100],
    "no HTTP": lambda _: b"SSH-2.0-x\r\n\r\n",
}


@pytest.mark.parametrize("case", FAILURES)
async def test_fetches_that_fail(module_scene: Scene, game: Game, case: str) -> None:
    """Never a 401; nothing is followed, nothing is stored, and the next one is not asked for at once."""
    module_scene.forget()
    module_scene.publisher.raw = FAILURES[case](game)
    asked = len(module_scene.publisher.asked)
    try:
        for _ in range(3):
            reply = await module_scene.served.post(game.sent(f"https://{HOST}{PATH}-fails"))
            assert (reply.status, reason(reply)) == (503, "key_unavailable")
            assert reply.headers["retry-after"] == "5"
    finally:
        module_scene.publisher.raw = None
    assert module_scene.publisher.asked[asked:] == [f"{PATH}-fails"]


async def test_a_server_that_is_not_who_it_says(game: Game, ledger: Ledger) -> None:
    """Its own certificate is good, but another host's."""
    async with running(game, ledger, host="www.paypal.com") as scene:
        reply = await scene.served.post(game.sent())
        assert (reply.status, reason(reply)) == (503, "key_unavailable")
        assert scene.publisher.asked == []


async def test_a_proxy_in_the_environment_is_not_used(
    game: Game, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with running(game, ledger) as scene:
        assert (await scene.served.post(game.sent())).status == 200


async def test_a_bad_signature_under_a_good_certificate(scene: Scene, game: Game) -> None:
    sent = game.sent()
    reply = await scene.served.post(sent.with_body(sent.body + b" "))
    assert (reply.status, reason(reply)) == (401, "signature_mismatch")


async def test_a_failure_is_forgotten_after_a_minute(scene: Scene, game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.publisher.raw = said(None)
    assert (await scene.served.post(game.sent())).status == 503
    scene.publisher.raw = None
    assert (await scene.served.post(game.sent())).status == 503
    later = time.monotonic() + limits.AGAIN_SECONDS
    monkeypatch.setattr(limits, "monotonic", lambda: later)
    assert (await scene.served.post(game.sent())).status == 200


async def test_a_flood_of_addresses_is_no_flood_of_requests(scene: Scene, game: Game) -> None:
    """Each is PayPal's, and none is published. What PayPal published before is still verified."""
    assert (await scene.served.post(game.sent())).status == 200
    forged = [game.sent(f"https://{HOST}/v1/notifications/certs/CERT-forged-{n}") for n in range(100)]
    replies = []
    for start in range(0, len(forged), 20):
        replies += await asyncio.gather(*(scene.served.post(one) for one in forged[start : start + 20]))
    assert {(reply.status, reason(reply)) for reply in replies} == {(503, "key_unavailable")}
    assert len(scene.publisher.asked) == limits.MOST_IN_THAT_TIME
    assert scene.fetched("not_asked") == len(forged) - (limits.MOST_IN_THAT_TIME - 1)
    assert (await scene.served.post(game.sent())).status == 200


async def test_a_server_that_hangs_delays_nobody_else(game: Game, ledger: Ledger, stripe: Account) -> None:
    async with running(game, ledger, answer_deadline=1.5) as scene:
        quiet = await latencies(scene, stripe)
        scene.publisher.hangs = True
        waiting = [asyncio.create_task(scene.served.post(game.sent())) for _ in range(20)]
        assert await until(lambda: asked(scene))
        busy = await latencies(scene, stripe)
        assert not any(task.done() for task in waiting), "the hang lasted for as long as was measured"
        replies = await asyncio.gather(*waiting)
        assert {(reply.status, reason(reply)) for reply in replies} == {(503, "key_unavailable")}
        assert scene.publisher.asked == [PATH]
        print(f"p99 of Stripe: {quiet * 1000:.1f} ms before, {busy * 1000:.1f} ms during the hang")  # noqa: T201
        assert busy < max(10 * quiet, 0.2)


async def asked(scene: Scene) -> bool:
    return bool(scene.publisher.asked)


async def latencies(scene: Scene, stripe: Account, count: int = 100) -> float:
    """The p99 of that many callbacks, one after another, in seconds."""
    taken = []
    for _ in range(count):
        sent, begun = stripe.sent(), time.perf_counter()
        assert (await scene.served.post(sent)).status == 200
        taken.append(time.perf_counter() - begun)
    return sorted(taken)[int(count * 0.99) - 1]


async def test_more_than_can_wait_are_told_to_call_again(
    scene: Scene, game: Game, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "_MOST_WAITING", 3)
    scene.publisher.hangs = True
    tasks = [asyncio.create_task(scene.served.post(game.sent())) for _ in range(3)]
    assert await until(lambda: asked(scene))
    fourth = await scene.served.post(game.sent())
    assert (fourth.status, reason(fourth)) == (503, "key_unavailable")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
