"""What was fetched once is kept in Redis and on disk, and believed from there as little as from anywhere else."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest
import redis.asyncio

from receiver.sources.fetched import KeyAnswer
from tests.certificates.conftest import ADDRESS, NAME, PATH, Game, Scene, running
from tests.certificates.test_paypal import reason
from tests.ingress.ledger import Ledger, until
from tests.sources.authorities import leaf

KEY = "receiver:keys:paypal"


async def kept(ledger: Ledger) -> int:
    async with redis.asyncio.Redis.from_url(ledger.redis_url) as client:
        return len(await client.hkeys(KEY))


async def keep(ledger: Ledger, field: str, content: bytes) -> None:
    async with redis.asyncio.Redis.from_url(ledger.redis_url) as client:
        await client.hset(KEY, field, content)


async def forget(ledger: Ledger) -> None:
    async with redis.asyncio.Redis.from_url(ledger.redis_url) as client:
        await client.flushdb()


def written(body: bytes) -> bytes:
    return msgspec.json.encode(KeyAnswer(document=ADDRESS, at=0.0, headers={}, body=body))


async def shelved(scene: Scene) -> bool:
    return await kept(scene.ledger) > 0


async def test_another_process_finds_it_in_redis(game: Game, ledger: Ledger) -> None:
    async with running(game, ledger) as first:
        assert (await first.served.post(game.sent())).status == 200
        assert await until(lambda: shelved(first))
        async with redis.asyncio.Redis.from_url(ledger.redis_url) as client:
            assert 0 < await client.ttl(KEY) <= 30 * 86_400
    async with running(game, ledger) as second:
        second.publisher.hangs = True
        assert (await second.served.post(game.sent())).status == 200
        assert second.publisher.asked == []


async def test_a_restart_without_redis_finds_it_on_disk(game: Game, ledger: Ledger, folder: Path) -> None:
    async with running(game, ledger, certificate_folder=folder) as first:
        assert (await first.served.post(game.sent())).status == 200
        assert await until(lambda: shelved(first))
    await forget(ledger)
    assert [file.suffix for file in (folder / "paypal").iterdir()] == [".json"], "nothing half-written is left"
    async with running(game, ledger, certificate_folder=folder) as second:
        second.publisher.hangs = True
        assert (await second.served.post(game.sent())).status == 200
        assert second.publisher.asked == []


FORGED: Mapping[str, Callable[[Game], bytes]] = {
    "an impostor's": lambda g: written(leaf(NAME, g.key, None, host=NAME).pem.encode()),
    "broken": lambda _: b'{"document":',
    "another form": lambda _: b"[]",
    "no JSON": lambda _: b"\xff\x00",
    "no certificate": lambda _: written(b"x"),
    "another address": lambda g: msgspec.json.encode(
        KeyAnswer(document="https://evil.example/x", at=0.0, headers={}, body=g.chain)
    ),
}


@pytest.mark.parametrize("where", ["redis", "disk"])
async def test_what_is_kept_is_not_believed(game: Game, ledger: Ledger, folder: Path, where: str) -> None:
    """The impostor's key is the one that signs: believed, the callback would pass without anybody being asked."""
    for number, forged in enumerate(FORGED.values()):
        if where == "redis":
            await keep(ledger, f"{ADDRESS}{number}", forged(game))
        else:
            (folder / "paypal").mkdir(parents=True, exist_ok=True)
            (folder / "paypal" / f"{number}.json").write_bytes(forged(game))
    async with running(game, ledger, certificate_folder=folder) as scene:
        scene.publisher.answers.clear()
        reply = await scene.served.post(game.sent())
        assert (reply.status, reason(reply)) == (503, "key_unavailable")
        assert scene.publisher.asked == [PATH]


async def test_a_folder_that_cannot_be_written_costs_nothing(game: Game, ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    async with running(game, ledger, certificate_folder=file) as scene:
        assert (await scene.served.post(game.sent())).status == 200
        assert (await scene.served.post(game.sent())).status == 200


async def test_redis_that_holds_something_else_costs_nothing(game: Game, ledger: Ledger) -> None:
    async with redis.asyncio.Redis.from_url(ledger.redis_url) as client:
        await client.set(KEY, b"x")
    async with running(game, ledger) as scene:
        assert (await scene.served.post(game.sent())).status == 200
