"""Redis fails over to a replica that had fallen behind: nothing is doubled, nothing lost. Fault 13."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import redis.asyncio
import redis.exceptions
from sqlalchemy.engine import make_url

from receiver.embedded import EmbeddedServers
from receiver.embedded.ports import free_port
from receiver.settings import Settings
from tests.faults.conftest import Start, ask_oracle
from tests.faults.relay import Relay
from tests.ingress.accounts import Account, Sent
from tests.ingress.ledger import Ledger, until
from tests.ingress.serving import Serving


@asynccontextmanager
async def replica_of(victims: EmbeddedServers, relay: Relay, folder: Path) -> AsyncIterator[str]:
    """A Valkey that follows the victims' through the relay; its URL."""
    primary, port = make_url(relay.url), free_port(0)
    password = str(primary.password)
    settings = {
        "port": str(port),
        "bind": "127.0.0.1",
        "save": '""',
        "dir": str(folder),
        "requirepass": password,
        "masterauth": password,
        "replicaof": f"{primary.host} {primary.port}",
        "repl-diskless-load": "swapdb",
    }
    (folder / "valkey.conf").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    async with redis.asyncio.Redis.from_url(victims.redis_url) as client:
        await client.config_set("repl-diskless-sync-delay", "0")
    server = str(victims._started().binaries.valkey_server)
    process = await asyncio.create_subprocess_exec(server, str(folder / "valkey.conf"), stdout=subprocess.DEVNULL)
    try:
        yield f"redis://:{password}@127.0.0.1:{port}/0"
    finally:
        process.kill()
        await process.wait()


async def keys(url: str) -> int:
    """How many there are; -1 while it does not answer."""
    try:
        async with redis.asyncio.Redis.from_url(url) as client:
            return int(await client.dbsize())
    except (redis.exceptions.RedisError, OSError):
        return -1


async def promote(url: str) -> None:
    """It follows nobody any more and may be written to."""
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.replicaof("NO", "ONE")


async def all_taken(served: Serving, sent: Sequence[Sent]) -> None:
    """Each is answered with success, in good time."""
    async with asyncio.timeout(3):
        assert {reply.status for reply in await asyncio.gather(*map(served.post, sent))} == {200}


async def test_marks_that_the_replica_never_saw_are_not_needed(
    *,
    victims: EmbeddedServers,
    accounts: Mapping[str, Account],
    ledger: Ledger,
    settings: Settings,
    start: Start,
    tmp_path: Path,
) -> None:
    seen, unseen, meanwhile, after = ([accounts["stripe"].sent() for _ in range(5)] for _ in range(4))
    everything = [*seen, *unseen, *meanwhile, *after]
    async with AsyncExitStack() as stack:
        between = await stack.enter_async_context(Relay(victims.redis_url))
        front = await stack.enter_async_context(Relay(victims.redis_url))
        replica = await stack.enter_async_context(replica_of(victims, between, tmp_path))
        served = await stack.enter_async_context(start(redis_url=front.url))
        await stack.enter_async_context(served.receiver.worker(settings.model_copy(update={"redis_url": front.url})))

        await all_taken(served, seen)
        assert await until(lambda: holds(replica, 5))
        between.hold()
        await all_taken(served, unseen)
        assert await until(lambda: holds(victims.redis_url, 10))
        assert await keys(replica) == 5, "it has fallen behind"
        front.lead_to(replica)
        victims.valkey.kill()
        await all_taken(served, [*seen, *unseen, *meanwhile])
        assert await keys(replica) == 5, "it still refuses to be written to"
        await promote(replica)

        async def marked_again() -> bool:
            await all_taken(served, everything)
            return await keys(replica) > 5

        assert await until(marked_again)
        await all_taken(served, everything)
        await ask_oracle(ledger, [one.external_id for one in everything])
    assert await ledger.stored() == {one.external_id: 1 for one in everything}


async def holds(url: str, count: int) -> bool:
    """So many keys are there."""
    return await keys(url) == count
