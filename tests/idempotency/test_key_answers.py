"""What a route does with its key in a transaction of its own, in each of its forms."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from fastapi.responses import PlainTextResponse, StreamingResponse
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from starlette.responses import Response
from structlog.testing import capture_logs

from receiver import IdempotencyKey, once
from receiver.app.upkeep import keep_keys
from receiver.errors import HandlerError, KeyRefused
from receiver.idempotency.keys.header import digest
from receiver.storage.engine import async_url
from receiver.storage.keyed import KeyStore, Standing, StoredResponse, Wanted, key_engine
from receiver.storage.raw import RawTransaction
from tests.idempotency.worlds import MortalStore
from tests.ingress.ledger import Ledger, until

FINGERPRINT = b"f" * 32


@pytest.fixture
async def keys(database_url: str) -> AsyncIterator[KeyStore]:
    made = KeyStore(key_engine(database_url, size=2), size=2)
    yield made
    await made.close()


@pytest.fixture
async def tx(database_url: str) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(async_url(database_url))
    async with AsyncSession(engine) as session:
        await session.execute(sql("SELECT 1"))
        yield session
    await engine.dispose()


async def claim(keys: KeyStore, key: IdempotencyKey, *, lease: float = 60, retention: float = 60) -> Standing:
    return await keys.claim(
        Wanted(
            key=key.digest,
            scope=key.scope,
            fingerprint=FINGERPRINT,
            owner=key.owner,
            lease=dt.timedelta(seconds=lease),
            retention=dt.timedelta(seconds=retention),
        )
    )


def run(text: str = "k") -> IdempotencyKey:
    """The key as one more run of its request has it."""
    made = digest("refunds", "a", text)
    return IdempotencyKey(scope="refunds", text=text, caller="a", digest=made, owner=uuid.uuid4(), limit=100)


Act: TypeAlias = Callable[[IdempotencyKey, AsyncSession], Awaitable[Response]]


async def in_a_session(key: IdempotencyKey, tx: AsyncSession) -> Response:
    await key.once(tx)
    return await key.answer(tx, {"at": dt.date(2026, 1, 31)}, 201)


async def in_a_plain_session(key: IdempotencyKey, tx: AsyncSession) -> Response:
    await tx.run_sync(key.once_sync)
    return await tx.run_sync(lambda session: key.answer_sync(session, {"at": dt.date(2026, 1, 31)}, 201))


async def in_a_raw_transaction(key: IdempotencyKey, tx: AsyncSession) -> Response:
    driver: Any = (await (await tx.connection()).get_raw_connection()).driver_connection
    raw = RawTransaction(driver, asyncio.Lock(), lambda: tx)
    await key.once(raw)
    return await key.answer(raw, {"at": dt.date(2026, 1, 31)}, 201)


WAYS = (in_a_session, in_a_plain_session, in_a_raw_transaction)


@pytest.mark.parametrize("way", WAYS)
async def test_the_response_is_there_from_the_commit_on(keys: KeyStore, tx: AsyncSession, way: Act) -> None:
    key = run()
    await claim(keys, key)
    response = await way(key, tx)
    assert key.answered
    assert (response.status_code, response.body) == (201, b'{"at":"2026-01-31"}')
    assert (await claim(keys, run())).state == "running"
    await tx.commit()
    stored = (await claim(keys, run())).response
    assert stored == StoredResponse(
        status=201, headers=(("content-length", "19"), ("content-type", "application/json")), body=bytes(response.body)
    )


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_done_is_not_done_again(keys: KeyStore, tx: AsyncSession, way: Act) -> None:
    for expected in (None, "key_response_lost"):
        key = run()
        await claim(keys, key, retention=0)
        if expected is None:
            await way(key, tx)
            await tx.commit()
        else:
            with pytest.raises(KeyRefused) as caught:
                await way(key, tx)
            assert caught.value.reason == expected


@pytest.mark.parametrize("way", WAYS)
async def test_who_has_lost_the_lease_cannot_answer(keys: KeyStore, tx: AsyncSession, way: Act) -> None:
    key = run()
    await claim(keys, key, lease=0)
    assert (await claim(keys, run())).state == "claimed"
    with pytest.raises(KeyRefused) as caught:
        await way(key, tx)
    assert caught.value.reason == "key_lease_lost"
    assert not key.answered


async def test_unique_keys_of_the_routes_own_are_others(keys: KeyStore, tx: AsyncSession) -> None:
    key = run()
    await claim(keys, key)
    assert await once(tx, "refunds", key.id)
    assert await once(tx, "refunds", key.text)
    await key.once(tx)


async def test_a_response_of_the_routes_own_is_kept_as_it_is(keys: KeyStore, tx: AsyncSession) -> None:
    key = run()
    await claim(keys, key)
    made = PlainTextResponse("paid", 202, {"X-Kept": "yes"})
    assert await key.answer(tx, made) is made
    await tx.commit()
    stored = (await claim(keys, run())).response
    assert stored is not None
    assert (stored.status, stored.body, dict(stored.headers)["x-kept"]) == (202, b"paid", "yes")


async def test_one_that_is_too_large_is_known_but_not_kept(keys: KeyStore, tx: AsyncSession) -> None:
    key = run()
    await claim(keys, key)
    await key.answer(tx, PlainTextResponse("x" * 101))
    await tx.commit()
    assert (await claim(keys, run())).state == "not_replayable"


async def test_one_that_streams_is_refused(keys: KeyStore, tx: AsyncSession) -> None:
    key = run()
    await claim(keys, key)
    with pytest.raises(HandlerError, match="streams"):
        await key.answer(tx, StreamingResponse(iter(["x"])))


async def test_keys_that_are_over_are_removed_while_the_application_runs(
    keys: KeyStore, database_url: str, redis_url: str
) -> None:
    ledger = Ledger(database_url, redis_url)
    for text, retention in (("old", 0.0), ("new", 60.0)):
        key = run(text)
        await claim(keys, key, retention=retention)
        await keys.store(key.digest, key.owner, StoredResponse(status=200, body=b""))
    removing = keep_keys(keys, seconds=0.01)
    await ledger.until("SELECT count(*) = 1 FROM receiver.idempotency_key")
    assert await ledger.value("SELECT key FROM receiver.idempotency_key") == run("new").digest
    removing.cancel()
    await asyncio.wait([removing])
    assert removing.cancelled()


async def test_removing_goes_on_when_postgresql_is_back(keys: KeyStore, database_url: str, redis_url: str) -> None:
    ledger = Ledger(database_url, redis_url)
    await claim(keys, run(), lease=0, retention=0)
    store = MortalStore(key_engine(database_url, size=1), size=1)
    store.dead = True
    with capture_logs() as logs:
        removing = keep_keys(store, seconds=0.01)

        async def warned() -> bool:
            return any(entry["event"] == "keys_not_removed" for entry in logs)

        assert await until(warned)
    store.dead = False
    await ledger.until("SELECT count(*) = 0 FROM receiver.idempotency_key")
    removing.cancel()
    await asyncio.wait([removing])
    await store.close()
