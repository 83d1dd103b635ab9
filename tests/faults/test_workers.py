"""Handlers run while PostgreSQL, Redis or the network fails: each is run again if it must be, with one effect."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest
import redis.asyncio
import redis.exceptions
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from receiver import Event, Receiver, RetryPolicy
from receiver.embedded import EmbeddedServers
from receiver.settings import Settings
from tests.faults.conftest import Start, ask_oracle
from tests.faults.relay import Relay
from tests.ingress.accounts import Account
from tests.ingress.ledger import Ledger, until

Accounts = Mapping[str, Account]
EFFECT = text("INSERT INTO effect VALUES (:handler, :event)")
WORKING = "application_name = 'receiver-worker' AND datname = current_database() AND state = 'idle in transaction'"
ATTEMPTS = "SELECT number, outcome, reason FROM receiver.every_attempt ORDER BY epoch"


@dataclass
class Gate:
    """A handler that stands in the middle of its first run."""

    entered: asyncio.Event
    opened: asyncio.Event
    runs: int = 0

    async def mark_paid(self, event: Event, tx: AsyncSession) -> None:
        """Write, wait, look again."""
        self.runs += 1
        await tx.execute(EFFECT, {"handler": event.handler, "event": event.id})
        self.entered.set()
        await self.opened.wait()

    def receiver(self) -> Receiver:
        """With that handler for payments of Stripe's."""
        made = Receiver(retry=RetryPolicy(first=0.05, factor=1, cap=0.05, attempts=20))
        made.on("stripe", "payment_intent.*")(self.mark_paid)
        return made


@pytest.fixture
def gate() -> Gate:
    return Gate(asyncio.Event(), asyncio.Event())


@dataclass(frozen=True)
class Scene:
    """What a fault may touch."""

    victims: EmbeddedServers
    ledger: Ledger
    relay: Relay

    async def of_the_run(self, what: str) -> object:
        """Something about the session in which the handler runs."""
        return await self.ledger.value(f"SELECT {what} FROM pg_stat_activity WHERE {WORKING}")


async def cut(scene: Scene) -> None:
    scene.relay.cut()


async def session_ended(scene: Scene) -> None:
    assert await scene.of_the_run("pg_terminate_backend(pid)")


async def backend_killed(scene: Scene) -> None:
    """The postmaster then ends all others."""
    os.kill(int(str(await scene.of_the_run("pid"))), signal.SIGKILL)


async def restarted(scene: Scene) -> None:
    await asyncio.to_thread(scene.victims.postgres.stop_immediate)
    await asyncio.to_thread(scene.victims.postgres.start)


@asynccontextmanager
async def working(gate: Gate, settings: Settings, relay: Relay) -> AsyncIterator[None]:
    """A worker that reaches PostgreSQL through the relay, in the middle of its first run."""
    changes = {"database_url": relay.url, "concurrency": 2, "lease_seconds": 2.0, "poll_seconds": 0.1}
    changed = settings.model_copy(update=changes)
    async with gate.receiver().worker(changed):
        await asyncio.wait_for(gate.entered.wait(), 15)
        yield


@pytest.mark.parametrize("fault", [cut, session_ended, backend_killed, restarted])
async def test_in_the_middle_of_a_run(  # faults 16, 17, 18 and 24
    *,
    victims: EmbeddedServers,
    accounts: Accounts,
    ledger: Ledger,
    settings: Settings,
    start: Start,
    gate: Gate,
    fault: Callable[[Scene], Awaitable[None]],
) -> None:
    sent = accounts["stripe"].sent()
    async with start() as served:
        assert (await served.post(sent)).status == 200
    await ledger.query("DELETE FROM receiver.dispatch WHERE handler <> 'mark_paid'")
    async with Relay(ledger.database_url) as relay, working(gate, settings, relay):
        await fault(Scene(victims, ledger, relay))
        gate.opened.set()

        async def back() -> bool:
            try:
                return bool(await ledger.query("SELECT"))
            except (OSError, asyncpg.PostgresError):
                return False

        assert await until(back)
        await ask_oracle(ledger, [sent.external_id])
    assert gate.runs == 2
    *before, (_, outcome, _) = await ledger.query(ATTEMPTS)
    assert outcome == "succeeded"
    # None at all where the lease itself was lost with PostgreSQL, which need not keep it.
    assert set(before) <= {(1, "retry", "store_unavailable"), (1, "lost", "lease_expired")}


async def test_the_reply_to_a_workers_commit_is_lost(  # faults 5 and 24
    *, accounts: Accounts, ledger: Ledger, settings: Settings, start: Start, gate: Gate
) -> None:
    """The worker does not know that it succeeded, and asks."""
    sent = accounts["stripe"].sent()
    async with start() as served:
        assert (await served.post(sent)).status == 200
    await ledger.query("DELETE FROM receiver.dispatch WHERE handler <> 'mark_paid'")
    async with Relay(ledger.database_url) as relay, working(gate, settings, relay):
        relay.hold()
        gate.opened.set()
        await ledger.until("SELECT state = 'succeeded' FROM receiver.dispatch")
        relay.cut()
        relay.release()
        other = accounts["stripe"].sent()
        async with start() as served:
            assert (await served.post(other)).status == 200
        await ledger.query("DELETE FROM receiver.dispatch WHERE handler <> 'mark_paid'")
        await ask_oracle(ledger, [sent.external_id, other.external_id])
    assert gate.runs == 2, "one for each event"
    assert await ledger.query(ATTEMPTS) == [(1, "succeeded", None)] * 2


async def paused(client: "redis.asyncio.Redis") -> None:
    await client.client_pause(2_500)


async def _full(client: "redis.asyncio.Redis", policy: str) -> None:
    await client.config_set("maxmemory", "3mb")
    await client.config_set("maxmemory-policy", policy)
    for number in range(8):
        pipeline = client.pipeline(transaction=False)
        for part in range(500):
            pipeline.set(f"junk:{number}:{part}", b"x" * 1_000, ex=600)
        await pipeline.execute(raise_on_error=False)


async def _fill(client: "redis.asyncio.Redis") -> None:
    """Until it is refused: what the last pipeline took for its answers is free again."""
    for number in range(30_000):
        await client.set(f"more:{number}", b"x" * 1_000, ex=600)


async def evicting(client: "redis.asyncio.Redis") -> None:
    await _full(client, "volatile-lru")
    assert (await client.info())["evicted_keys"] > 0


async def refusing(client: "redis.asyncio.Redis") -> None:
    await _full(client, "noeviction")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        await _fill(client)


async def gone(client: "redis.asyncio.Redis") -> None:
    await client.shutdown(nosave=True)


@pytest.mark.parametrize("fault", [paused, evicting, refusing, gone])
async def test_whatever_redis_does_handlers_run(  # faults 9, 10, 14 and 15, on the worker's side
    *,
    accounts: Accounts,
    ledger: Ledger,
    settings: Settings,
    start: Start,
    fault: Callable[["redis.asyncio.Redis"], Awaitable[None]],
) -> None:
    """At the latest when the worker looks by itself."""
    sent = [accounts[name].sent() for name in accounts for _ in range(10)]
    changed = settings.model_copy(update={"poll_seconds": 0.3})
    async with start() as served, served.receiver.worker(changed):
        async with redis.asyncio.Redis.from_url(ledger.redis_url) as client:
            await fault(client)
        for one in sent:
            async with asyncio.timeout(1):
                assert (await served.post(one)).status in {200, 204}
        async with asyncio.timeout(2):
            await ask_oracle(ledger, [one.external_id for one in sent])
