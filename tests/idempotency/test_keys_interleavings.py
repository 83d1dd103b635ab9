"""Random interleavings of use, failure, crash, lost lease and expiry: at most one effect for each key."""

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.databases import execute
from tests.idempotency.refunds import EFFECTS
from tests.idempotency.worlds import WAYS, World, in_world

Step: TypeAlias = tuple[str, int, int, int]

STEPS: Final = st.tuples(
    st.sampled_from(
        ["ask"] * 4 + ["go"] * 6 + ["fail", "crash", "lease ends", "lease ends", "retention ends", "remove"]
    ),
    st.integers(0, 3),
    st.integers(0, 5),
    st.integers(0, 5),
)


FROZEN: Final[Sequence[Step]] = [
    ("ask", 0, 0, 0),
    ("lease ends", 0, 0, 0),
    ("ask", 1, 0, 0),
    *[("go", 0, 0, 0)] * 6,
]
"""A server loses its lease before its transaction, and goes on with it beside the one that took over."""


@pytest.fixture
def shop_url(database_url: str) -> str:
    execute(database_url, EFFECTS)
    return database_url


async def take(world: World, focus: int, step: Step) -> None:
    name, first, second, third = step
    match name:
        case "ask":
            await world.ask(first % 2, focus if second < 5 else first % len(WAYS), int(third == 5))
        case "go":
            await world.go(first)
        case "fail":
            await world.go(first, fails=True)
        case "crash":
            await world.crash(first % 2)
        case "lease ends":
            await world.lease_ends()
        case "retention ends":
            await world.retention_ends(first % 2)  # with `answer` alone, what is over may be done again
        case _:
            await world.remove()


async def check(world: World) -> None:
    effects = await world.effects()
    assert set(effects.values()) <= {1}
    for key, contents in world.heard.items():
        assert len(contents) <= effects.get(key, 0)  # nobody hears of what is not so, and all hear the same


async def finish(world: World) -> None:
    """Let all run to their ends; then each key has its effect, and is not burnt."""
    while world.open:
        await world.go(0)
    await world.lease_ends()
    for key, way in enumerate(WAYS):
        had_one = bool((await world.effects()).get(key))
        said = set()
        for body in (0, 1):
            asked = await world.ask(0, key, body)
            while not asked.task.done():
                await world.go(0)
            reply = asked.task.result()
            assert reply is not None
            said.add((reply.status_code, reply.json().get("reason")))
        lost = (409, "key_response_lost")
        allowed = {(201, None), (422, "key_reused"), *([lost] if way == "once" or key in world.aged else [])}
        assert said <= allowed
        assert (201, None) in said or (had_one and lost in said)
    await check(world)


@example(focus=0, steps=FROZEN)
@example(focus=1, steps=FROZEN)
@example(focus=2, steps=FROZEN)
@given(st.sampled_from(range(len(WAYS))), st.lists(STEPS, min_size=20, max_size=60))
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def test_at_most_one_effect_whatever_happens(shop_url: str, focus: int, steps: Sequence[Step]) -> None:
    """Most requests are for one key, so that they meet."""

    async def play(world: World) -> None:
        for step in steps:
            await take(world, focus, step)
            await check(world)
        await finish(world)

    asyncio.run(in_world(shop_url, play))
