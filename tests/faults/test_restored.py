"""Postgres is restored to an earlier point: what it forgot is accepted again, whatever Redis remembers. Fault 38."""

import asyncio
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from receiver.embedded import EmbeddedServers
from receiver.settings import Settings
from tests.faults.conftest import Start, settle
from tests.ingress.accounts import Account
from tests.ingress.inboxes import BLOCKED, locked
from tests.ingress.ledger import Ledger, until


async def test_marks_of_the_lost_timeline_are_ignored(
    *,
    victims: EmbeddedServers,
    accounts: Mapping[str, Account],
    ledger: Ledger,
    settings: Settings,
    start: Start,
    tmp_path: Path,
) -> None:
    stripe = accounts["stripe"]
    kept, lost, other = stripe.sent(), stripe.sent(), stripe.sent()
    async with start() as served:
        assert (await served.post(kept)).status == 200
        await asyncio.to_thread(back_up, victims, ledger, tmp_path / "backup")
        assert (await served.post(lost)).status == 200

        async def marked() -> bool:
            return await ledger.redis_keys() == 2

        assert await until(marked)
        await asyncio.to_thread(restore, victims, tmp_path / "backup")
        assert await ledger.stored() == {kept.external_id: 1}, "the restored server knows nothing of it"
        assert len(await ledger.marks()) == 2, "but Redis does"

        async def answered() -> bool:
            return (await served.post(other)).status == 200 and await ledger.redis_keys() == 3

        assert await until(answered, 10)
        async with locked(ledger.database_url):
            blocker = asyncio.create_task(served.post(stripe.sent()))
            await ledger.until(BLOCKED)
            assert (await served.post(other)).status == 200, "a mark of this timeline is believed"
            waiting = asyncio.create_task(served.post(lost))
            await asyncio.wait([waiting], timeout=0.5)
            assert not waiting.done(), "answered from a mark of another timeline"
        assert [(await task).status for task in (waiting, blocker)] == [200, 200]
    assert (await ledger.stored())[lost.external_id] == 1
    await settle(ledger, settings, [kept.external_id, lost.external_id, other.external_id])


def back_up(victims: EmbeddedServers, ledger: Ledger, folder: Path) -> None:
    """A base backup of the running server."""
    options = ["-d", ledger.database_url, "-D", str(folder), "-X", "stream", "-c", "fast", "--no-sync"]
    subprocess.run([str(victims.binary("pg_basebackup")), *options], check=True, timeout=60, capture_output=True)


def restore(victims: EmbeddedServers, backup: Path) -> None:
    """Stop, put the backup in the place of the data, recover to its end; the server comes up on a new timeline."""
    data = victims.postgres.data
    victims.postgres.stop_immediate()
    owner = data.stat()
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'false'\n")
    for path in (data, *data.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    data.chmod(0o700)
    victims.postgres.start()
