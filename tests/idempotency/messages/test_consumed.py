"""`consumed` has one effect for each id, acknowledges behind the commit, and not at all where there was none."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from receiver.errors import OnceError
from receiver.messages import MessageError, consumed, consumed_sync
from tests.idempotency.messages.streams import EFFECT, SECONDS, rows

Sessions = async_sessionmaker[AsyncSession]


class Failed(Exception):
    """What a block raises."""


@dataclass
class Desk:
    """Takes acknowledgements, and looks how many effects are committed when one comes."""

    sessions: Sessions
    seen: list[int] = field(default_factory=list)
    fails: bool = False

    async def ack(self) -> None:
        async with self.sessions() as tx:
            await tx.run_sync(self._look)

    def ack_sync(self, sessions: sessionmaker[Session]) -> None:
        with sessions() as tx:
            self._look(tx)

    def _look(self, tx: Session) -> None:
        if self.fails:
            raise Failed
        self.seen.append(tx.execute(text("SELECT count(*) FROM effect")).scalar_one())


@pytest.fixture
def desk(sessions: Sessions) -> Desk:
    return Desk(sessions)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message that comes, and what its block does."""

    message_id: str | None = "m_1"
    scope: str = "orders"
    fails: bool = False
    ends: str = ""
    """What the block calls on its session."""


async def by_itself(sessions: Sessions, desk: Desk, delivery: Delivery) -> bool:
    """With a session of its own; whether it was the first time."""
    async with consumed(sessions, scope=delivery.scope, message_id=delivery.message_id, ack=desk.ack) as tx:
        if tx is not None:
            await tx.execute(EFFECT, {"message": delivery.message_id})
        if tx is not None and delivery.ends:
            await getattr(tx, delivery.ends)()
        if delivery.fails:
            raise Failed
    return tx is not None


async def by_itself_sync(sessions: Sessions, desk: Desk, delivery: Delivery) -> bool:
    def run(session: Session) -> bool:
        made = sessionmaker(session.get_bind())
        ack = partial(desk.ack_sync, made)
        with consumed_sync(made, scope=delivery.scope, message_id=delivery.message_id, ack=ack) as tx:
            if tx is not None:
                tx.execute(EFFECT, {"message": delivery.message_id})
            if tx is not None and delivery.ends:
                getattr(tx, delivery.ends)()
            if delivery.fails:
                raise Failed
        return tx is not None

    async with sessions() as session:
        return await session.run_sync(run)


async def joined(sessions: Sessions, desk: Desk, delivery: Delivery) -> bool:
    """In a transaction that somebody else has begun and commits."""
    async with sessions.begin() as mine, consumed(mine, scope=delivery.scope, message_id=delivery.message_id) as tx:
        if tx is not None:
            await tx.execute(EFFECT, {"message": delivery.message_id})
        if delivery.fails:
            raise Failed
    await desk.ack()
    return tx is not None


async def joined_sync(sessions: Sessions, desk: Desk, delivery: Delivery) -> bool:
    def run(session: Session) -> bool:
        with consumed_sync(session, scope=delivery.scope, message_id=delivery.message_id) as tx:
            if tx is not None:
                tx.execute(EFFECT, {"message": delivery.message_id})
            if delivery.fails:
                raise Failed
        return tx is not None

    async with sessions.begin() as mine:
        first = await mine.run_sync(run)
    await desk.ack()
    return first


Way = Callable[[Sessions, Desk, Delivery], Awaitable[bool]]
OWN: tuple[Way, ...] = (by_itself, by_itself_sync)
WAYS: tuple[Way, ...] = (*OWN, joined, joined_sync)


@pytest.mark.parametrize("way", WAYS)
async def test_a_repeat_is_acknowledged_without_an_effect(
    sessions: Sessions, desk: Desk, shop_url: str, way: Way
) -> None:
    assert await way(sessions, desk, Delivery())
    assert not await way(sessions, desk, Delivery())
    assert await rows(shop_url) == ["m_1"]
    assert len(desk.seen) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_a_failure_leaves_nothing_and_is_not_acknowledged(
    sessions: Sessions, desk: Desk, shop_url: str, way: Way
) -> None:
    with pytest.raises(Failed):
        await way(sessions, desk, Delivery(fails=True))
    assert (await rows(shop_url), desk.seen) == ([], [])
    assert await way(sessions, desk, Delivery())
    assert await rows(shop_url) == ["m_1"]


async def fails_in(mine: AsyncSession) -> None:
    async with consumed(mine, scope="orders", message_id="m_1") as tx:
        assert tx is not None
        await tx.execute(EFFECT, {"message": "m_1"})
        raise Failed


async def fails_in_sync(mine: AsyncSession) -> None:
    def run(session: Session) -> None:
        with consumed_sync(session, scope="orders", message_id="m_1") as tx:
            assert tx is not None
            tx.execute(EFFECT, {"message": "m_1"})
            raise Failed

    await mine.run_sync(run)


@pytest.mark.parametrize("failing", [fails_in, fails_in_sync])
async def test_a_failure_that_the_callers_transaction_survives_leaves_nothing(
    sessions: Sessions, desk: Desk, shop_url: str, failing: Callable[[AsyncSession], Awaitable[None]]
) -> None:
    async with sessions.begin() as mine:
        with pytest.raises(Failed):
            await failing(mine)
        await mine.execute(EFFECT, {"message": "of the caller"})
    assert await rows(shop_url) == ["of the caller"]
    assert await by_itself(sessions, desk, Delivery())


@pytest.mark.parametrize("way", OWN)
async def test_the_acknowledgement_comes_behind_the_commit(sessions: Sessions, desk: Desk, way: Way) -> None:
    assert await way(sessions, desk, Delivery())
    assert desk.seen == [1]


@pytest.mark.parametrize("way", OWN)
async def test_an_acknowledgement_that_fails_takes_nothing_back(
    sessions: Sessions, desk: Desk, shop_url: str, way: Way
) -> None:
    desk.fails = True
    with pytest.raises(Failed):
        await way(sessions, desk, Delivery())
    desk.fails = False
    assert not await way(sessions, desk, Delivery())
    assert await rows(shop_url) == ["m_1"]


async def test_each_scope_has_its_own_effect(sessions: Sessions, desk: Desk, shop_url: str) -> None:
    assert await by_itself(sessions, desk, Delivery(scope="orders"))
    assert await by_itself(sessions, desk, Delivery(scope="mails"))
    assert await rows(shop_url) == ["m_1", "m_1"]


async def test_a_storm_of_one_message_has_one_effect(sessions: Sessions, desk: Desk, shop_url: str) -> None:
    async with asyncio.timeout(SECONDS):
        first = await asyncio.gather(*(by_itself(sessions, desk, Delivery()) for _ in range(20)))
    assert sum(first) == 1
    assert await rows(shop_url) == ["m_1"]
    assert desk.seen == [1] * 20


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("message_id", [None, ""])
async def test_without_an_id_nothing_is_done(
    sessions: Sessions, desk: Desk, shop_url: str, way: Way, message_id: str | None
) -> None:
    with pytest.raises(MessageError) as caught:
        await way(sessions, desk, Delivery(message_id=message_id))
    assert caught.value.reason == "message_id_missing"
    assert (await rows(shop_url), desk.seen) == ([], [])


@pytest.mark.parametrize("call", ["commit", "rollback"])
@pytest.mark.parametrize("way", OWN)
async def test_a_block_that_ends_its_transaction_is_not_acknowledged(
    sessions: Sessions, desk: Desk, shop_url: str, way: Way, call: str
) -> None:
    with pytest.raises(MessageError) as caught:
        await way(sessions, desk, Delivery(ends=call))
    assert caught.value.reason == "message_transaction"
    assert (await rows(shop_url), desk.seen) == (["m_1"] if call == "commit" else [], [])
    assert await way(sessions, desk, Delivery()) is (call == "rollback")
    assert await rows(shop_url) == ["m_1"]


async def test_a_session_of_the_callers_is_not_acknowledged_for_it(sessions: Sessions, desk: Desk) -> None:
    def run(session: Session) -> None:
        with consumed_sync(session, scope="orders", message_id="m_1", ack=list):
            pytest.fail("it began")

    async with sessions.begin() as mine:
        for refused in (
            consumed(mine, scope="orders", message_id="m_1", ack=desk.ack).__aenter__(),
            mine.run_sync(run),
        ):
            with pytest.raises(MessageError) as caught:
                await refused
            assert caught.value.reason == "message_ack"
    assert desk.seen == []


async def test_what_cannot_be_a_key_is_an_error_of_once(sessions: Sessions, desk: Desk) -> None:
    with pytest.raises(OnceError) as caught:
        await by_itself(sessions, desk, Delivery(scope=""))
    assert caught.value.reason == "once_scope"
    assert desk.seen == []
