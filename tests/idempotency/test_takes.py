"""Tokens in a real Redis: whatever order things come in, a token is never anybody's while it is somebody else's."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.errors import TokenStoreUnavailable
from receiver.marks.client import Client, connect
from receiver.marks.takes import Taken, Takes

LIFE = timedelta(seconds=60)
OWNERS = ("a", "b", "c")
STEPS = ("take", "take", "finish", "give_back", "extend", "lease ends", "redis forgets")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Client, Takes]]:
    client = connect(url, timeout=5)
    try:
        yield client, Takes(client, lease=timedelta(seconds=30))
    finally:
        await client.aclose()


def key(nonce: bytes, state: str) -> bytes:
    return b"receiver:token:{%b}:%b" % (nonce.hex().encode(), state.encode())


async def end_lease(client: Client, nonce: bytes) -> None:
    claim = await client.get(key(nonce, "claim"))
    if isinstance(claim, bytes):
        await client.set(key(nonce, "claim"), claim.split(b"|")[0] + b"|0", keepttl=True)


class Model:
    """What a token should be."""

    def __init__(self) -> None:
        self.state = "free"
        self.owner = ""
        self.ended = False

    def take(self, owner: str) -> Taken:
        if self.state == "free" or (self.state == "claim" and (self.ended or self.owner == owner)):
            self.state, self.owner, self.ended = "claim", owner, False
            return Taken.TAKEN
        return {"claim": Taken.CLAIMED, "used": Taken.USED, "lost": Taken.LOST}[self.state]

    def by_owner(self, owner: str, becomes: str) -> bool:
        if self.state != "claim" or self.owner != owner:
            return False
        self.state = becomes
        self.ended = self.ended and becomes != "claim"
        return True


async def play(url: str, steps: list[tuple[str, str]]) -> None:
    nonce, model = secrets.token_bytes(16), Model()
    async with opened(url) as (client, takes):
        await takes.store([nonce], LIFE)
        for step, owner in steps:
            match step:
                case "take":
                    assert await takes.take(nonce, owner) == model.take(owner)
                case "finish":
                    assert await takes.finish(nonce, owner) == model.by_owner(owner, "used")
                case "give_back":
                    assert await takes.give_back(nonce, owner) == model.by_owner(owner, "free")
                case "extend":
                    model_says = model.by_owner(owner, "claim")
                    model.ended = model.ended and not model_says
                    assert await takes.extend(nonce, owner) == model_says
                case "lease ends":
                    await end_lease(client, nonce)
                    model.ended = model.state == "claim"
                case _:
                    await client.delete(*(key(nonce, state) for state in ("free", "claim", "used")))
                    model.state = "lost"
        there = [state for state in ("free", "claim", "used") if await client.exists(key(nonce, state))]
        assert there == [state for state in (model.state,) if state != "lost"]
        for state in there:
            assert 0 < await client.pttl(key(nonce, state)) <= LIFE.total_seconds() * 1000, "as long as it was issued"


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(OWNERS)), max_size=12))
def test_any_order(redis_url: str, steps: list[tuple[str, str]]) -> None:
    asyncio.run(play(redis_url, steps))


async def test_a_token_given_back_keeps_the_life_that_it_had_left(redis_url: str) -> None:
    nonce = secrets.token_bytes(16)
    async with opened(redis_url) as (client, takes):
        await takes.store([nonce], LIFE)
        await client.pexpire(key(nonce, "free"), 20_000)
        assert await takes.take(nonce, "a") == Taken.TAKEN
        assert await takes.give_back(nonce, "a")
        assert 15_000 < await client.pttl(key(nonce, "free")) <= 20_000


async def test_of_a_thousand_at_once_one_takes_it(redis_url: str) -> None:
    nonce = secrets.token_bytes(16)
    async with opened(redis_url) as (_, takes):
        await takes.store([nonce], LIFE)
        said = await asyncio.gather(*(takes.take(nonce, f"owner-{number}") for number in range(1_000)))
    assert sorted(said).count(Taken.TAKEN) == 1
    assert said.count(Taken.CLAIMED) == 999


async def test_without_redis_it_is_an_error_and_no_verdict() -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    async with opened(f"redis://127.0.0.1:{port}/0") as (_, takes):
        for asked in (takes.take(b"n", "a"), takes.finish(b"n", "a"), takes.store([b"n"], LIFE)):
            with pytest.raises(TokenStoreUnavailable):
                await asked
