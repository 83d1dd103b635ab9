"""What no provider signed: 401 with a stable reason, no row, no Redis key, and not a word too many anywhere."""

import hashlib
import hmac
import json
import re
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from urllib.parse import quote, unquote_to_bytes

import pytest

from receiver.sources import MADE_UP
from tests.ingress.accounts import JSON_NAMES, NAMES, SIGNATURE, Account, Sent, accounts_of, first, make_accounts
from tests.ingress.conftest import Start, settings_of
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.ingress.wire import Reply, ask

Accounts = Mapping[str, Account]
Forge = Callable[[Account, Accounts], Sent]
"""Makes the callback to send, from the account that it goes to and another account of each provider."""
MADE_HERE = re.compile(r"[a-z]+(_[a-z0-9]+)*")


@pytest.fixture(scope="module")
def strangers() -> Accounts:
    """Accounts of somebody else."""
    return make_accounts()


@pytest.fixture(scope="module")
def silent(program: Program) -> Iterator[Callable[[], str]]:
    """What the program logged since it began to serve."""
    began = program.log.stat().st_size

    def said() -> str:
        return program.log.read_text()[began:]

    yield said
    assert "Traceback" not in said()


def signature(change: Callable[[bytes], bytes], version: bytes = b"v1,") -> Forge:
    """Change the signature, wherever it stands; of a list the one entry of that version is left."""

    def entry(value: bytes) -> bytes:
        return next(part for part in value.split(b" ") if part.startswith(version))

    def forge(account: Account, _: Accounts) -> Sent:
        if account.name == "standardwebhooks":
            return changed_signature(account.sent(), account.name, lambda value: change(entry(value)))
        return changed_signature(account.sent(), account.name, change)

    return forge


def changed_signature(sent: Sent, name: str, change: Callable[[bytes], bytes]) -> Sent:
    """The callback with its signature changed."""
    if name != "alipay":
        return sent.with_header(SIGNATURE[name], change(sent.header(SIGNATURE[name])))
    parts = sent.body.split(b"&")
    made = [b"sign=" + quote(change(unquote_to_bytes(p[5:])), safe="").encode() if p[:5] == b"sign=" else p for p in parts]
    return sent.with_body(b"&".join(made))


def without_signature(account: Account, _: Accounts) -> Sent:
    sent = account.sent()
    if account.name != "alipay":
        return sent.with_header(SIGNATURE[account.name])
    return sent.with_body(b"&".join(part for part in sent.body.split(b"&") if not part.startswith(b"sign=")))


def body(change: Callable[[bytes], bytes]) -> Forge:
    """Change the body under its signature."""
    return lambda account, _: (sent := account.sent()).with_body(change(sent.body))


def flipped(whole: bytes) -> bytes:
    """One bit of it, in the middle of a digit or letter."""
    place = next(i for i in range(len(whole) // 3, len(whole)) if chr(whole[i]).isalnum())
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def again(whole: bytes) -> bytes:
    """The same document written by another hand: JSON with other blanks, a form with other escapes."""
    if whole.startswith(b"{"):
        return json.dumps(json.loads(whole), indent=5).encode()
    return whole.replace(b"42.00", b"42.0")


def timestamped(value: bytes) -> Forge:
    """Put another spelling where the time stands, and sign that."""

    def forge(account: Account, _: Accounts) -> Sent:
        sent = account.sent()
        if account.name == "stripe":
            secret = first(account.settings["secrets"]).encode()
            digest = hmac.new(secret, value + b"." + sent.body, hashlib.sha256).hexdigest().encode()
            return sent.with_header(b"stripe-signature", b"t=" + value + b",v1=" + digest)
        if account.name == "standardwebhooks":
            secret = b64decode(first(account.settings["secrets"]).removeprefix("whsec_"))
            signed = b".".join([sent.header(b"webhook-id"), value, sent.body])
            entry = b"v1," + b64encode(hmac.new(secret, signed, hashlib.sha256).digest())
            return sent.with_header(b"webhook-timestamp", value).with_header(b"webhook-signature", entry)
        return sent.with_header(b"wechatpay-timestamp", value)

    return forge


def at(seconds: float) -> Forge:
    """Signed by the right key, so many seconds from now."""
    return lambda account, _: account.signed(account.sample(), time.time() + seconds)


def by_another_account(account: Account, strangers: Accounts) -> Sent:
    return replace(strangers[account.name].sent(), path=account.path)


def by_another_provider(account: Account, strangers: Accounts) -> Sent:
    other = NAMES[(NAMES.index(account.name) + 1) % len(NAMES)]
    return replace(strangers[other].sent(), path=account.path)


def conflicting(account: Account, _: Accounts) -> Sent:
    if account.name == "alipay":
        sent = account.sent()
        return sent.with_body(sent.body + b"&sign=AAAA")
    name = SIGNATURE[account.name]
    sent = account.sent()
    return sent.with_header(name, sent.header(name), b"v1=0")


EVERYBODY: Mapping[str, tuple[Forge, set[str]]] = {
    "no signature": (without_signature, {"signature_missing"}),
    "empty": (signature(lambda _: b""), {"signature_missing"}),
    "v1,": (signature(lambda _: b"v1,"), {"timestamp_missing", "signature_malformed", "signature_mismatch"}),
    "truncated": (signature(lambda s: s[:-9]), {"signature_malformed", "signature_mismatch"}),
    "overlong": (signature(lambda s: s + b"A" * 9_000), {"header_malformed", "signature_mismatch", "signature_malformed"}),
    "20,000 signatures": (
        signature(lambda s: b" ".join([s] * (20_000 if len(s) < 200 else 2_500))),
        {"header_malformed", "signature_malformed"},
    ),
    "no comma": (
        signature(lambda s: s.replace(b",", b"") if b"," in s else b"x" + s),
        {"signature_missing", "signature_malformed", "signature_mismatch"},
    ),
    "two commas": (
        signature(lambda s: s.replace(b",", b",,") if b"," in s else s + b",,"),
        {"signature_mismatch", "signature_malformed"},
    ),
    "invalid base64": (
        signature(lambda _: b"v1,!!!!"),
        {"timestamp_missing", "signature_mismatch", "signature_malformed"},
    ),
    "junk inside base64": (
        signature(lambda s: s[:40] + b"*" + s[40:]),
        {"signature_mismatch", "signature_malformed"},
    ),
    "not ASCII": (signature(lambda s: s + "é".encode()), {"header_malformed", "signature_malformed"}),
    "Latin-1": (signature(lambda s: b"\xff" + s), {"header_malformed", "signature_malformed"}),
    "an old scheme alone": (
        signature(lambda s: s.replace(b"v1", b"v0")),
        {"signature_missing", "signature_malformed"},
    ),
    "conflicting signatures": (conflicting, {"header_conflict", "form_duplicate_name"}),
    "wrong secret": (by_another_account, {"signature_mismatch", "key_unknown"}),
    "another provider's": (
        by_another_provider,
        {"signature_missing", "id_missing", "form_malformed"},
    ),
    "one bit of the body": (body(flipped), {"signature_mismatch", "form_malformed", "form_duplicate_name"}),
    "serialised again": (body(again), {"signature_mismatch"}),
    "a trailing newline": (body(lambda b: b + b"\n"), {"signature_mismatch", "form_malformed"}),
    "not UTF-8": (body(lambda b: b + b"\xff\xfe"), {"signature_mismatch", "form_malformed"}),
    "empty body": (body(lambda _: b""), {"signature_mismatch", "signature_missing"}),
    "NUL in the body": (body(lambda b: b + b"\0"), {"signature_mismatch", "form_malformed"}),
}
NO_FORGERY = {
    ("alipay", "an old scheme alone"),  # they know one scheme
    ("wechatpay", "an old scheme alone"),
    ("stripe", "two commas"),  # an empty item in a list of items
}
TIMES: Mapping[str, tuple[Forge, set[str]]] = {
    "expired": (at(-301), {"timestamp_expired"}),
    "future": (at(+310), {"timestamp_future"}),
    **{
        value.decode(): (timestamped(value), {"timestamp_malformed"})
        for value in (b"NaN", b"1e400", b"%d.9" % time.time(), b"1_760_000_000", b"+1760000000", b"0x68E77800", b"9" * 400)
    },
    "space inside": (timestamped(b"17600 00000"), {"timestamp_malformed"}),
    "Arabic digits": (timestamped("١٧٦٠٠٠٠٠٠٠".encode()), {"header_malformed", "timestamp_malformed"}),
    "none": (timestamped(b""), {"timestamp_missing", "timestamp_malformed"}),
}


async def refused(program: Program, sent: Sent, reasons: set[str]) -> None:
    """Send it, and look at the answer."""
    reply = await ask(program.port, sent.raw)
    assert reply.status == 401
    assert reply.headers["content-type"] == "application/problem+json"
    said = json.loads(reply.body)
    assert said["reason"] in reasons
    assert (said["status"], said["type"]) == (401, f"urn:receiver:problem:{said['reason']}")
    assert MADE_HERE.fullmatch(said["reason"])
    check_no_echo(reply, sent)


def check_no_echo(reply: Reply, sent: Sent) -> None:
    """Nothing that was sent comes back."""
    whole = reply.body + repr(reply.headers).encode()
    assert b"Traceback" not in whole
    for value in [sent.body, *(value for _, value in sent.headers)]:
        assert len(value) < 12 or value not in whole


def secrets_of(account: Account) -> list[str]:
    """Whatever must never be seen: keys, in every spelling that stands in the settings."""
    found = []
    for name, value in account.settings.items():
        if name not in {"provider", "certificates", "public_key", "public_keys"}:
            found += [str(part) for part in (value if isinstance(value, list) else [value])]
    return [secret.removeprefix("whsec_")[:40] for secret in found]


@pytest.fixture
async def nothing_kept(own_stores: Ledger, accounts: Accounts, silent: Callable[[], str]) -> AsyncIterator[None]:
    """The test leaves no row anywhere, no key in Redis, no secret and no line of a callback in the log."""
    before = await own_stores.counts(), await own_stores.redis_keys()
    yield
    assert (await own_stores.counts(), await own_stores.redis_keys()) == before
    log = silent()
    assert "42.00" not in log
    assert "notify_id" not in log
    for account in accounts.values():
        assert not any(secret in log for secret in secrets_of(account))


CASES = [(name, case) for case in EVERYBODY for name in NAMES if (name, case) not in NO_FORGERY]


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize(("name", "case"), CASES)
async def test_forged(program: Program, accounts: Accounts, strangers: Accounts, name: str, case: str) -> None:
    forge, reasons = EVERYBODY[case]
    await refused(program, forge(accounts[name], strangers), reasons)


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("name", JSON_NAMES)
@pytest.mark.parametrize("case", TIMES)
async def test_times(program: Program, accounts: Accounts, strangers: Accounts, name: str, case: str) -> None:
    forge, reasons = TIMES[case]
    await refused(program, forge(accounts[name], strangers), reasons)


def own(sent: Callable[[Account], Sent]) -> Forge:
    """A forgery that needs nobody else."""
    return lambda account, _: sent(account)


def keyed_with_the_public_key(account: Account) -> Sent:
    sent = account.sent()
    key = b64decode(first(account.settings["public_keys"]).removeprefix("whpk_"))
    signed = b".".join([sent.header(b"webhook-id"), sent.header(b"webhook-timestamp"), sent.body])
    return sent.with_header(b"webhook-signature", b"v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()))


def hashed_otherwise(account: Account) -> Sent:
    sent = account.sent()
    now = b"%d" % time.time()
    digest = hmac.new(first(account.settings["secrets"]).encode(), now + b"." + sent.body, hashlib.sha1).hexdigest()
    return sent.with_header(b"stripe-signature", b"t=" + now + b",v1=" + digest.encode())


def twice(account: Account) -> Sent:
    sent = account.sent()
    return sent.with_header(b"stripe-signature", b"t=1," + sent.header(b"stripe-signature"))


def replaced(header: bytes, *values: bytes) -> Forge:
    """Other values in a header that is signed."""
    return own(lambda account: account.sent().with_header(header, *values))


OWN: Mapping[str, tuple[str, Forge, str]] = {
    **{
        f"standard: v1a {case}": ("standardwebhooks", signature(change, b"v1a,"), reason)
        for case, change, reason in (
            ("truncated", lambda s: s[:-9], "signature_mismatch"),
            ("with junk", lambda s: s[:20] + b"*" + s[20:], "signature_mismatch"),
            ("without comma", lambda s: s.replace(b",", b""), "signature_malformed"),
            ("with two commas", lambda s: s.replace(b",", b",,"), "signature_mismatch"),
            ("as v1", lambda s: s.replace(b"v1a", b"v1"), "signature_mismatch"),
            ("20,000 times", lambda s: b" ".join([s] * 20_000), "header_malformed"),
        )
    },
    "stripe: two t": ("stripe", own(twice), "timestamp_malformed"),
    "stripe: wrong hash": ("stripe", own(hashed_otherwise), "signature_mismatch"),
    "standard: id swapped": ("standardwebhooks", replaced(b"webhook-id", b"msg_other"), "signature_mismatch"),
    "standard: id missing": ("standardwebhooks", replaced(b"webhook-id"), "id_missing"),
    "standard: two ids": ("standardwebhooks", replaced(b"webhook-id", b"a", b"b"), "header_conflict"),
    "standard: public key": ("standardwebhooks", own(keyed_with_the_public_key), "signature_mismatch"),
    "standard: no time": ("standardwebhooks", replaced(b"webhook-timestamp"), "timestamp_missing"),
    "wechat: no time": ("wechatpay", replaced(b"wechatpay-timestamp"), "timestamp_missing"),
    "wechat: unknown serial": ("wechatpay", replaced(b"wechatpay-serial", b"DEADBEEF"), "key_unknown"),
    "wechat: no serial": ("wechatpay", replaced(b"wechatpay-serial"), "serial_missing"),
    "wechat: another nonce": ("wechatpay", replaced(b"wechatpay-nonce", b"other"), "signature_mismatch"),
    "wechat: probe": (
        "wechatpay",
        replaced(b"wechatpay-signature", b"WECHATPAY/SIGNTEST/" + b"A" * 300),
        "signature_malformed",
    ),
    "alipay: amount": (
        "alipay",
        body(lambda b: b.replace(b"total_amount=42.00", b"total_amount=42.01")),
        "signature_mismatch",
    ),
    "alipay: an unsigned parameter": ("alipay", body(lambda b: b + b"&trade_status2=x"), "signature_mismatch"),
    "alipay: a parameter twice": ("alipay", body(lambda b: b + b"&version=1.0"), "form_duplicate_name"),
    "alipay: JSON": ("alipay", body(lambda _: b'{"sign":"AAAA"}'), "signature_missing"),
    "alipay: 20,000 parameters": ("alipay", body(lambda b: b + b"&a=1" * 20_000), "form_malformed"),
}


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("case", OWN)
async def test_schemes(program: Program, accounts: Accounts, strangers: Accounts, case: str) -> None:
    name, forge, reason = OWN[case]
    await refused(program, forge(accounts[name], strangers), {reason})


@pytest.mark.parametrize("door", ["fast", "asgi"])
async def test_another_source_of_the_same_provider(ledger: Ledger, start: Start, door: str) -> None:
    """Its own secrets only, whatever the path says."""
    made_up = {f"{name}-{place}": MADE_UP[name]() for name in NAMES for place in ("eu", "us")}
    both = accounts_of(made_up)
    async with start(door, sources=settings_of(both, ledger).sources) as served:
        for name in NAMES:
            there = replace(both[f"{name}-eu"].sent(), path=both[f"{name}-us"].path)
            assert (await served.post(there)).status == 401
        assert await ledger.counts() == {}
        for account in both.values():
            assert (await served.post(account.sent())).status in {200, 204}
        for name in NAMES:
            assert served.counted("receiver_callbacks_total", source=f"{name}-us", result="accepted") == 1
    assert (await ledger.counts())["event"] == 8


async def test_a_retired_secret(ledger: Ledger, start: Start) -> None:
    """Both verify while both are live; afterwards the old one is a stranger's."""
    old = {name: MADE_UP[name]() for name in ("stripe", "standardwebhooks")}
    new = {name: MADE_UP[name]() for name in ("stripe", "standardwebhooks")}
    for settings in (*old.values(), *new.values()):
        settings.pop("public_keys", None)
        settings.pop("signing_key", None)
    rotating = {
        name: {**new[name], "secrets": [first(new[name]["secrets"]), first(old[name]["secrets"])]} for name in new
    }
    senders = accounts_of(old)
    for sources, statuses in ((rotating, {200, 204}), (new, {401})):
        async with start(sources=settings_of(accounts_of(sources), ledger).sources) as served:
            assert {(await served.post(senders[name].sent())).status for name in new} == statuses
    assert (await ledger.counts())["event"] == 2
