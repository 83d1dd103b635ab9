"""The FastStream middleware on a real JetStream: one effect for each message, acknowledged behind its commit."""

import asyncio
from typing import Any

import nats
import pytest
from faststream import AckPolicy
from faststream.exceptions import AckMessage, NackMessage, RejectMessage
from faststream.nats import NatsBroker, NatsMessage, NatsRouter, PullSub
from nats.aio.msg import Msg
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from receiver.faststream import ExactlyOnce, Tx
from receiver.messages import MessageError
from receiver.storage.engine import async_url
from tests.faults.relay import Relay
from tests.idempotency.messages.shop import PULL, Behaviour, Shop
from tests.idempotency.messages.streams import DURABLE, EFFECT, SECONDS, Stream, until

Sessions = async_sessionmaker[AsyncSession]


class Failed(Exception):
    """What a handler raises."""


@pytest.fixture
def shop(stream: Stream, sessions: Sessions) -> Shop:
    return Shop(stream, sessions)


async def fails(_: NatsMessage) -> None:
    raise Failed


async def raises_nack(_: NatsMessage) -> None:
    raise NackMessage(delay=0.05)


async def raises_reject(_: NatsMessage) -> None:
    raise RejectMessage


async def raises_ack(_: NatsMessage) -> None:
    raise AckMessage


async def nacks(message: NatsMessage) -> None:
    await message.nack()


async def rejects(message: NatsMessage) -> None:
    await message.reject()


async def acks(message: NatsMessage) -> None:
    await message.ack()


async def test_a_handler_writes_with_the_session_that_is_committed(shop: Shop, stream: Stream) -> None:
    async with shop.open():
        await stream.publish("a", "b")
        await stream.until_settled()
    assert await stream.rows() == ["a", "b"]
    assert shop.witness.errors == []


@pytest.mark.parametrize("policy", [AckPolicy.REJECT_ON_ERROR, AckPolicy.NACK_ON_ERROR, AckPolicy.ACK])
async def test_an_error_undoes_all_and_the_message_comes_again(shop: Shop, stream: Stream, policy: AckPolicy) -> None:
    shop.behaviours = [fails, fails]
    shop.ack_policy = policy
    async with shop.open():
        await stream.publish("a")
        await stream.until_settled()
    assert await stream.rows() == ["a"]
    assert shop.runs == ["a", "a", "a"]
    assert [type(error) for error in shop.witness.errors] == [Failed, Failed]


@pytest.mark.parametrize("policy", [AckPolicy.REJECT_ON_ERROR, AckPolicy.ACK])
async def test_a_handler_that_ends_the_program_loses_nothing(shop: Shop, stream: Stream, policy: AckPolicy) -> None:
    async def ends(_: NatsMessage) -> None:
        raise SystemExit

    async def ended() -> bool:
        return bool(shop.witness.errors)

    shop.behaviours = [ends]
    shop.ack_policy = policy
    async with shop.open():
        await stream.publish("a")
        await until(ended)
    assert await stream.rows() == []
    async with shop.open():
        await stream.until_settled()
    assert await stream.rows() == ["a"]


WISHES = [
    (raises_nack, 2, ["a"]),
    (nacks, 2, ["a"]),
    (raises_reject, 1, []),
    (rejects, 1, []),
    (raises_ack, 1, ["a"]),
    (acks, 1, ["a"]),
]


@pytest.mark.parametrize(("behaviour", "runs", "effects"), WISHES, ids=[each[0].__name__ for each in WISHES])
async def test_what_a_handler_says_of_its_message_holds_for_its_effect(
    shop: Shop, stream: Stream, behaviour: Behaviour, runs: int, effects: list[str]
) -> None:
    shop.behaviours = [behaviour]
    async with shop.open():
        await stream.publish("a")
        await stream.until_settled()
    assert await stream.rows() == effects
    assert len(shop.runs) == runs


async def test_a_commit_whose_reply_is_lost_is_not_done_again(shop: Shop, stream: Stream) -> None:
    async with Relay(stream.database_url) as relay:

        async def lose_the_reply(_: NatsMessage) -> None:
            relay.losing = True
            group.create_task(cut())

        async def cut() -> None:
            await until(lambda: stream.has_rows(1))
            relay.cut()
            relay.losing = False

        engine = create_async_engine(async_url(relay.url), connect_args={"ssl": False})
        shop.sessions = async_sessionmaker(engine)
        shop.behaviours = [lose_the_reply]
        async with asyncio.TaskGroup() as group, shop.open():
            await stream.publish("a")
            await stream.until_settled()
        await engine.dispose()
    assert len(shop.witness.errors) == 2, "of the commit, and of the repeat, which is only acknowledged"
    assert shop.runs == await stream.rows() == ["a"]


async def test_a_repeat_runs_nothing_and_publishes_no_reply(shop: Shop, stream: Stream) -> None:
    client = await nats.connect(stream.nats_url)
    replies = await client.subscribe(shop.replies)
    async with shop.open():
        await stream.publish("a", message_id="order 1")
        await stream.until_stored_again("a", message_id="order 1")
        await stream.publish("b", message_id="order 2")
        await stream.until_settled()
    assert [(await replies.next_msg(SECONDS)).data for _ in range(2)] == [b"a", b"b"]
    assert replies.pending_msgs == 0
    assert shop.runs == await stream.rows() == ["a", "b"]
    await client.close()


async def test_without_an_id_a_message_waits_for_one(shop: Shop, stream: Stream) -> None:
    ids = iter([None, "", "order 1"])
    shop.message_id = lambda _: next(ids)
    async with shop.open():
        await stream.publish("a")
        await stream.until_settled()
    assert shop.runs == await stream.rows() == ["a"]
    assert [getattr(error, "reason", "") for error in shop.witness.errors] == ["message_id_missing"] * 2


@pytest.mark.parametrize("policy", [AckPolicy.MANUAL, AckPolicy.ACK_FIRST])
async def test_a_policy_that_acknowledges_otherwise_is_told_at_the_start(shop: Shop, policy: AckPolicy) -> None:
    broker = NatsBroker(shop.stream.nats_url, middlewares=[shop.once()])
    broker.subscriber("fit", stream=shop.place)
    ExactlyOnce.check(broker)
    broker.subscriber("unfit", stream=shop.place, ack_policy=policy)
    with pytest.raises(MessageError) as caught:
        ExactlyOnce.check(broker)
    assert caught.value.reason == "message_ack_policy"


async def test_a_policy_that_acknowledges_otherwise_runs_nothing(shop: Shop, stream: Stream) -> None:
    shop.ack_policy = AckPolicy.MANUAL
    async with shop.open():
        await stream.publish("a")
        await until(lambda: told(shop, "message_ack_policy"))
    assert (shop.runs, await stream.rows()) == ([], [])
    assert not await stream.settled()


async def test_two_handlers_do_not_share_a_scope(shop: Shop, stream: Stream) -> None:
    async with shop.open() as broker:

        @broker.subscriber(stream.name, stream=shop.place, durable="second", pull_sub=PULL)
        async def second(_: str) -> None:
            shop.runs.append("second")

        await broker.start()
        await stream.publish("a")
        await until(lambda: told(shop, "message_scope_shared"))
    assert len(shop.runs) == 1


async def told(shop: Shop, reason: str) -> bool:
    return reason in shop.witness.reasons


async def test_each_router_has_a_scope_of_its_own(shop: Shop, stream: Stream, sessions: Sessions) -> None:
    mails = NatsRouter(middlewares=[ExactlyOnce(sessions, scope="mails")])

    @mails.subscriber(stream.name, stream=shop.place, durable="mails", pull_sub=PULL)
    async def mail(body: str, tx: Tx) -> None:
        await tx.execute(EFFECT, {"message": f"mail of {body}"})

    orders = NatsRouter(middlewares=[shop.once()])

    @orders.subscriber(stream.name, stream=shop.place, durable=DURABLE, pull_sub=PULL)
    async def order(body: str, tx: Tx) -> None:
        await tx.execute(EFFECT, {"message": body})

    async with NatsBroker(stream.nats_url, logger=None) as broker:
        broker.include_routers(mails, orders)
        await broker.start()
        await stream.publish("a")
        await until(lambda: stream.has_rows(2))
    assert await stream.rows() == ["a", "mail of a"]


MESSAGES = ["a", "b", "c", "d"]


@pytest.mark.parametrize("how", [{"pull_sub": PULL, "durable": DURABLE}, {"queue": DURABLE}], ids=["pull", "push"])
async def test_messages_that_are_handled_at_once_have_a_transaction_each(
    shop: Shop, stream: Stream, how: dict[str, Any]
) -> None:
    meeting = asyncio.Barrier(len(MESSAGES))
    failed: list[str] = []
    broker = NatsBroker(stream.nats_url, middlewares=[shop.once()], logger=None)

    async def order(body: str, tx: Tx) -> None:
        await tx.execute(EFFECT, {"message": body})
        if body in failed:
            return
        await meeting.wait()
        if body == "b":
            failed.append(body)
            raise Failed

    broker.subscriber(stream.name, stream=shop.place, max_workers=len(MESSAGES), **how)(order)
    async with broker:
        await broker.start()
        await stream.publish(*MESSAGES)
        await stream.until_settled()
    assert failed == ["b"]
    assert await stream.rows() == MESSAGES


async def test_a_batch_is_refused(shop: Shop, stream: Stream) -> None:
    broker = NatsBroker(stream.nats_url, middlewares=[shop.witness, shop.once()], logger=None)

    @broker.subscriber(stream.name, stream=shop.place, durable=DURABLE, pull_sub=PullSub(batch=True, timeout=0.2))
    async def orders(_: list[str]) -> None:
        shop.runs.append("batch")

    async with broker:
        await broker.start()
        await stream.publish("a", "b")
        await until(lambda: told(shop, "message_batch"))
    assert shop.runs == []
    assert not await stream.settled()


async def test_without_a_handler_nothing_is_taken_as_done(shop: Shop, stream: Stream) -> None:
    broker = NatsBroker(stream.nats_url, middlewares=[shop.once()], logger=None)
    subscriber = broker.subscriber(stream.name, stream=shop.place, durable=DURABLE, pull_sub=PULL)
    async with broker:
        await broker.start()
        await stream.publish("a")
        with pytest.raises(MessageError) as caught:
            await subscriber.get_one(timeout=SECONDS)
    assert caught.value.reason == "message_handler"
    assert not await stream.settled()


async def test_the_answer_to_a_request_passes(shop: Shop, stream: Stream) -> None:
    client = await nats.connect(stream.nats_url)

    async def echo(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe(shop.replies, cb=echo)
    await client.flush()
    async with NatsBroker(stream.nats_url, middlewares=[shop.once()], logger=None) as broker, asyncio.timeout(SECONDS):
        await broker.connect()
        assert (await broker.request("a", shop.replies)).body == b"a"
    await client.close()
