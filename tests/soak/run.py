"""One soak from start to verdict: stores, programs, a provider and chaos; then quiet; then what is wrong."""

import asyncio
import json
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from receiver.embedded import EmbeddedServers
from receiver.embedded.ports import free_port
from receiver.operate import jobs
from receiver.operate.errors import NothingToReplay
from receiver.storage.audit import Said
from receiver.storage.selections import ReplayState, Selection
from tests import judge
from tests.faults.relay import Relay
from tests.ingress.accounts import Account, make_accounts
from tests.ingress.ledger import Ledger
from tests.soak import chaos, verdict
from tests.soak.members import Member
from tests.soak.provider import Provider
from tests.soak.shop import TABLES

SERVERS: Final = 2
WORKERS: Final = 3
SHOP: Final = Path(__file__).with_name("shop.py")
SETTINGS: Final[Mapping[str, object]] = {
    "operator_port": 0,
    "lease_seconds": 2,
    "poll_seconds": 0.5,
    "grace_seconds": 3,
    "concurrency": 8,
}
STUCK_SECONDS: Final = 60.0
"""Without any progress once nothing goes wrong any more."""
REPLAY_SECONDS: Final = 3.0
IMPATIENT: Final = 0.2
COUNTS: Final = """
SELECT (SELECT count(*) FROM receiver.event WHERE source <> 'internal'), (SELECT count(*) FROM receiver.dispatch),
       (SELECT count(*) FROM effect),
       (SELECT count(*) FROM receiver.dispatch WHERE state IN ('ready', 'waiting', 'leased'))
"""
DONE: Final = """
SELECT NOT EXISTS (SELECT FROM receiver.dispatch WHERE state IN ('ready', 'waiting', 'leased', 'dead'))
    AND NOT EXISTS (SELECT FROM receiver.replay WHERE state = 'running')
"""

Say = Callable[["Soak"], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is asked for."""

    minutes: float
    seed: int
    callbacks: int
    """Events; more is sent, since some are sent twice and others until they are acknowledged."""


@dataclass
class Soak:
    """A soak and what is known of it so far."""

    options: Options
    step: str = "starting"
    provider: Provider | None = None
    scene: chaos.Scene | None = None
    stored: int = 0
    owed: int = 0
    effects: int = 0
    unfinished: int = 0
    replays: int = 0
    violations: list[str] = field(default_factory=list)


async def run(options: Options, stores: EmbeddedServers, folder: Path, say: Say) -> Soak:
    """A whole soak; its violations say whether it was passed.

    Args:
        options: how long, how much, which chance.
        stores: running, migrated and without any events.
        folder: empty; gets settings, handlers and logs.
        say: told of what goes on.
    """
    soak = Soak(options)
    accounts = make_accounts()
    write_program(folder, accounts)
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(opened(options, stores, folder, accounts))
        soak.scene, soak.provider = scene, scene.provider
        await scene.execute(TABLES)
        await seat_judge(scene.database_url)
        watching = asyncio.create_task(watch(soak, Ledger(stores.database_url, stores.redis_url), say))
        stack.callback(watching.cancel)
        await suffer(soak, scene)
        await calm(soak, scene)
        soak.step = "judging"
        watching.cancel()
        ledger = Ledger(stores.database_url, stores.redis_url)
        await look(soak, ledger)
        soak.violations += await verdict.wrong(ledger.query, scene.provider.counts.acknowledged)
        soak.violations += await verdict.transitions(stores.database_url)
    soak.violations += [*scene.provider.counts.odd, *(one for member in scene.members for one in member.complaints)]
    soak.violations += verdict.complaints([member.log for member in scene.members])
    return soak


async def suffer(soak: Soak, scene: chaos.Scene) -> None:
    """All at once, until everything is acknowledged and the time is up."""
    soak.step = "mistreating"
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(scene.provider.run())
        hands = [group.create_task(scene.hand(faults, over)) for faults in chaos.HANDS]
        replaying = group.create_task(keep_replaying(soak, scene))
        await asyncio.sleep(soak.options.minutes * 60)
        soak.step = "ending"
        over.set()
        await asyncio.wait(hands)
        scene.provider.no_more.set()
        await sending
        replaying.cancel()


async def calm(soak: Soak, scene: chaos.Scene) -> None:
    """Nothing goes wrong any more, so all gets done. Handlers may still give up: what is dead is replayed."""
    soak.step = "waiting for quiet"
    ledger = Ledger(scene.database_url, "")
    done, moved_at = -1, time.monotonic()
    while not await ledger.value(DONE) and time.monotonic() < moved_at + STUCK_SECONDS:
        await replay(soak, scene, "dead")
        await asyncio.sleep(0.5)
        before, done = done, int(str(await ledger.value("SELECT count(*) FROM effect")))
        moved_at = time.monotonic() if done > before else moved_at


async def keep_replaying(soak: Soak, scene: chaos.Scene) -> None:
    """Replay what is dead every now and then, and what is to be retried, as an impatient operator does."""
    while True:
        await asyncio.sleep(REPLAY_SECONDS)
        with suppress(*chaos.LOST):
            await replay(soak, scene, "retrying" if scene.draw.random() < IMPATIENT else "dead")


async def replay(soak: Soak, scene: chaos.Scene, state: ReplayState) -> None:
    """Start a replay, which the workers carry out."""
    connection = await asyncpg.connect(scene.database_url, timeout=5)
    try:
        await jobs.start(connection, Selection(state=state), Said(who="soak"))
        soak.replays += 1
    except NothingToReplay:
        return
    finally:
        connection.terminate()


async def watch(soak: Soak, ledger: Ledger, say: Say) -> None:
    """Look at the database every second, when it can be asked."""
    while True:
        with suppress(*chaos.LOST):
            await asyncio.wait_for(look(soak, ledger), 5)
        say(soak)
        await asyncio.sleep(1)


async def look(soak: Soak, ledger: Ledger) -> None:
    """Count what is there."""
    ((*counts,),) = await ledger.query(COUNTS)
    soak.stored, soak.owed, soak.effects, soak.unfinished = (int(str(count)) for count in counts)


async def seat_judge(url: str) -> None:
    """From now on every change of a dispatch is judged."""
    connection = await asyncpg.connect(url)
    await judge.seat(connection)
    await connection.close()


@asynccontextmanager
async def opened(
    options: Options, stores: EmbeddedServers, folder: Path, accounts: Mapping[str, Account]
) -> AsyncIterator[chaos.Scene]:
    """Relays and programs, running. The last server and the last worker reach their stores through the relays."""
    draw = random.Random(options.seed)
    async with AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(Relay(url)) for url in (stores.database_url, stores.redis_url)]
        direct, relayed = (stores.database_url, stores.redis_url), (relays[0].url, relays[1].url)
        ports = [free_port(0) for _ in range(SERVERS)]
        servers = [
            Member(f"server {n + 1}", "serve", folder, variables(*(relayed if n else direct), port=port))
            for n, port in enumerate(ports)
        ]
        workers = [
            Member(f"worker {n + 1}", "work", folder, variables(*(relayed if n == WORKERS - 1 else direct)))
            for n in range(WORKERS)
        ]
        keeping = [asyncio.create_task(member.keep()) for member in (*servers, *workers)]
        stack.push_async_callback(end, keeping)
        for member in (*servers, *workers):
            await member.until_ready()
        yield chaos.Scene(
            stores=stores,
            database_url=stores.database_url,
            servers=servers,
            workers=workers,
            relays=relays,
            provider=Provider(
                accounts, ports, random.Random(draw.random()), total=options.callbacks, seconds=options.minutes * 54
            ),
            draw=draw,
        )


async def end(tasks: list["asyncio.Task[None]"]) -> None:
    """Cancel and wait."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def variables(database_url: str, redis_url: str, port: int = 0) -> dict[str, str]:
    """What a program is told by its environment."""
    return {"RECEIVER_DATABASE_URL": database_url, "RECEIVER_REDIS_URL": redis_url, "RECEIVER_PORT": str(port)}


def write_program(folder: Path, accounts: Mapping[str, Account]) -> None:
    """Handlers and settings for all programs."""
    shutil.copy(SHOP, folder / "shop.py")
    lines = [f"{name} = {json.dumps(value)}" for name, value in SETTINGS.items()]
    for name, account in accounts.items():
        lines += [f"[sources.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in account.settings.items())]
    (folder / "receiver.toml").write_text("\n".join(lines) + "\n")
