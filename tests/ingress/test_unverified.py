"""What is forged in ways of one scheme: 401 with a stable reason, no row, no Redis key, not a word too many."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from receiver.sources import made_up
from tests.ingress.accounts import NAMES, Account, Sent, accounts_of, first, make_accounts
from tests.ingress.conftest import Start, settings_of
from tests.ingress.forgeries import OWN, Accounts
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.ingress.wire import Reply, ask

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


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("case", OWN)
async def test_schemes(program: Program, accounts: Accounts, strangers: Accounts, case: str) -> None:
    name, forge, reason = OWN[case]
    await refused(program, forge(accounts[name], strangers), {reason})


@pytest.mark.parametrize("door", ["fast", "asgi"])
async def test_another_source_of_the_same_provider(ledger: Ledger, start: Start, door: str) -> None:
    """Its own secrets only, whatever the path says."""
    settings = {f"{name}-{place}": made_up(name) for name in NAMES for place in ("eu", "us")}
    both = accounts_of(settings)
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
    old = {name: made_up(name) for name in ("stripe", "standardwebhooks")}
    new = {name: made_up(name) for name in ("stripe", "standardwebhooks")}
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
