"""A client's key has one owner at a time and one response for good; the database's clock decides."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from receiver.errors import StoreUnavailable
from receiver.storage.engine import Connection, async_url
from receiver.storage.keyed import KeyStore, Standing, StoredResponse, Wanted, key_engine, store_in, store_in_sync
from receiver.storage.raw import RawTransaction

SECONDS = 30.0
KEY, SAME, OTHER = b"k" * 16, b"f" * 32, b"g" * 32
PAID = StoredResponse(status=201, headers=(("content-type", "text/plain"), ("x-é", "ÿ")), body=b"\x00paid\xff")


def wanted(owner: uuid.UUID, fingerprint: bytes = SAME, lease: float = 60.0, retention: float = 3600.0) -> Wanted:
    return Wanted(
        key=KEY,
        scope="refunds",
        fingerprint=fingerprint,
        owner=owner,
        lease=dt.timedelta(seconds=lease),
        retention=dt.timedelta(seconds=retention),
    )


@pytest.fixture
async def keys(database_url: str) -> AsyncIterator[KeyStore]:
    made = KeyStore(key_engine(database_url, size=4), size=4)
    yield made
    await made.close()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    made = await asyncpg.connect(database_url)
    yield made
    await made.close()


@pytest.fixture
async def tx(database_url: str) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(async_url(database_url))
    async with AsyncSession(engine) as session:
        yield session
    await engine.dispose()


async def state(keys: KeyStore, fingerprint: bytes = SAME, **times: float) -> str:
    return (await keys.claim(wanted(uuid.uuid4(), fingerprint, **times))).state


async def test_a_key_has_one_owner_until_it_is_answered(keys: KeyStore) -> None:
    owner = uuid.uuid4()
    assert await keys.claim(wanted(owner)) == Standing(state="claimed")
    assert [await state(keys), await state(keys, OTHER)] == ["running", "reused"]
    assert await keys.store(KEY, owner, PAID)
    assert await keys.claim(wanted(uuid.uuid4())) == Standing(state="stored", response=PAID)
    assert await state(keys, OTHER) == "reused"


async def test_what_is_released_is_free_for_the_same_request_alone(keys: KeyStore) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    await keys.claim(wanted(first))
    await keys.release(KEY, first)
    assert await state(keys, OTHER) == "reused"
    assert await keys.claim(wanted(second)) == Standing(state="claimed")
    await keys.release(KEY, first)
    assert await state(keys) == "running"


async def test_whoever_lost_the_lease_can_do_nothing(keys: KeyStore) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    await keys.claim(wanted(first, lease=0))
    assert await keys.claim(wanted(second)) == Standing(state="claimed")
    assert not await keys.extend(KEY, first, dt.timedelta(seconds=60))
    assert not await keys.store(KEY, first, PAID)
    assert await keys.store(KEY, second, PAID)
    assert not await keys.store(KEY, second, StoredResponse(status=500, body=b""))
    await keys.release(KEY, second)
    assert await keys.claim(wanted(first)) == Standing(state="stored", response=PAID)


async def test_a_lease_that_is_extended_does_not_end(keys: KeyStore, connection: Connection) -> None:
    owner = uuid.uuid4()
    await keys.claim(wanted(owner, lease=0))
    assert await keys.extend(KEY, owner, dt.timedelta(seconds=60))
    assert await state(keys) == "running"
    left = await connection.fetchval("SELECT leased_until - now() FROM receiver.idempotency_key")
    assert dt.timedelta(seconds=50) < left <= dt.timedelta(seconds=60)


async def test_a_response_without_a_body_is_known_but_not_replayed(keys: KeyStore) -> None:
    owner = uuid.uuid4()
    await keys.claim(wanted(owner))
    assert await keys.store(KEY, owner, StoredResponse(status=200, body=None))
    assert await state(keys) == "not_replayable"


@pytest.mark.parametrize("fingerprint", [SAME, OTHER])
async def test_a_key_whose_retention_is_over_is_as_new(
    keys: KeyStore, connection: Connection, fingerprint: bytes
) -> None:
    owner, next_owner = uuid.uuid4(), uuid.uuid4()
    await keys.claim(wanted(owner, retention=0))
    assert await state(keys) == "running"  # it is still running: the retention does not end a lease
    assert await keys.store(KEY, owner, PAID)
    assert await keys.claim(wanted(next_owner, fingerprint)) == Standing(state="claimed")
    assert await keys.store(KEY, next_owner, PAID)
    row = await connection.fetchrow(
        "SELECT created_at > now() - interval '1 minute', expires_at > now() FROM receiver.idempotency_key"
    )
    assert tuple(row or ()) == (True, True)


async def test_a_new_owner_does_not_lengthen_the_retention(keys: KeyStore, connection: Connection) -> None:
    expiry = "SELECT expires_at FROM receiver.idempotency_key"
    await keys.claim(wanted(uuid.uuid4(), lease=0))
    first = await connection.fetchval(expiry)
    assert await state(keys, retention=7200.0) == "claimed"
    assert await connection.fetchval(expiry) == first


async def test_of_many_at_once_one_gets_it(keys: KeyStore) -> None:
    async with asyncio.timeout(SECONDS):
        states = await asyncio.gather(*(state(keys) for _ in range(100)))
    assert sorted(states) == ["claimed"] + ["running"] * 99


async def test_of_many_who_take_over_one_gets_it(keys: KeyStore) -> None:
    await state(keys, lease=0)
    async with asyncio.timeout(SECONDS):
        states = await asyncio.gather(*(state(keys) for _ in range(100)))
    assert sorted(states) == ["claimed"] + ["running"] * 99


async def in_a_session(tx: AsyncSession, owner: uuid.UUID) -> bool:
    return await store_in(tx, KEY, owner, PAID)


async def in_a_plain_session(tx: AsyncSession, owner: uuid.UUID) -> bool:
    return await tx.run_sync(store_in_sync, KEY, owner, PAID)


async def in_a_raw_transaction(tx: AsyncSession, owner: uuid.UUID) -> bool:
    driver: Any = (await (await tx.connection()).get_raw_connection()).driver_connection
    return await store_in(RawTransaction(driver, asyncio.Lock(), lambda: tx), KEY, owner, PAID)


@pytest.mark.parametrize("way", [in_a_session, in_a_plain_session, in_a_raw_transaction])
@pytest.mark.parametrize("commits", [True, False])
async def test_a_response_can_be_part_of_the_business_transaction(
    keys: KeyStore, tx: AsyncSession, way: Any, commits: bool
) -> None:
    owner = uuid.uuid4()
    await keys.claim(wanted(owner))
    await tx.execute(sql("SELECT 1"))
    assert not await way(tx, uuid.uuid4())
    assert await way(tx, owner)
    assert await state(keys) == "running"  # and nobody waits for the transaction
    await (tx.commit() if commits else tx.rollback())
    assert await state(keys) == ("stored" if commits else "running")


async def test_nobody_takes_over_while_the_business_transaction_commits(keys: KeyStore, tx: AsyncSession) -> None:
    owner = uuid.uuid4()
    await keys.claim(wanted(owner, lease=0))
    assert await store_in(tx, KEY, owner, PAID)
    assert await state(keys) == "running"  # after the lock_timeout
    await tx.commit()
    assert await state(keys) == "stored"


async def test_only_what_is_over_is_removed(keys: KeyStore, connection: Connection) -> None:
    rows = """
    INSERT INTO receiver.idempotency_key (key, scope, fingerprint, owner, leased_until, status, expires_at)
    SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 's', '', gen_random_uuid(), now() + lease, status, now() + expiry
    FROM generate_series($1::int, $2::int) AS n,
        (SELECT $3::interval AS lease, $4::smallint AS status, $5::interval AS expiry) AS given
    """
    hour = dt.timedelta(hours=1)
    await connection.execute(rows, 1, 2500, hour, 200, -hour)  # answered
    await connection.execute(rows, 2501, 2600, -hour, None, -hour)  # left
    await connection.execute(rows, 2601, 2610, hour, None, -hour)  # still running
    await connection.execute(rows, 2611, 2620, -hour, 200, hour)
    await connection.execute("ANALYZE receiver.idempotency_key")
    assert await keys.remove_expired(most=1000) == 1000
    assert await keys.remove_expired(most=10_000) == 1600
    assert await connection.fetchval("SELECT count(*) FROM receiver.idempotency_key") == 20


async def test_a_claim_may_be_lost_in_a_crash_and_a_response_may_not(keys: KeyStore, connection: Connection) -> None:
    """What is flushed to disk is what a crash leaves."""
    behind = "SELECT pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn() > 0"

    async def flushed(owner: uuid.UUID) -> bool:
        """Whether all that was written by now is on disk; what others write meanwhile may not be."""
        before = await connection.fetchval("SELECT pg_current_wal_insert_lsn()::text")
        await keys.store(KEY, owner, PAID)
        return bool(await connection.fetchval("SELECT pg_current_wal_flush_lsn() > $1::text::pg_lsn", before))

    claimed = False
    for _ in range(20):  # the WAL writer may come in between
        owner = uuid.uuid4()
        await keys.claim(wanted(owner, retention=0))
        claimed |= bool(await connection.fetchval(behind))
        assert await flushed(owner)
    assert claimed


async def test_without_postgresql_nothing_is_claimed() -> None:
    keys = KeyStore(key_engine("postgresql://nobody@127.0.0.1:9/none", size=1), size=1)
    with pytest.raises(StoreUnavailable):
        await keys.claim(wanted(uuid.uuid4()))
    await keys.close()
