"""Consumers that are killed at any moment: JetStream delivers again, and each message has one effect all the same."""

import random
from collections import Counter
from functools import partial

import pytest

from tests.idempotency.messages.conftest import Start, kill
from tests.idempotency.messages.streams import ACK_WAIT, Stream, until

MESSAGES = 200
ROUNDS = 4
"""Times that all consumers are killed."""


@pytest.mark.parametrize("seed", [7])
async def test_killed_again_and_again(stream: Stream, start: Start, seed: int) -> None:
    draw = random.Random(seed)
    await stream.subscribe(ACK_WAIT)
    messages = [f"message {number:03}" for number in range(MESSAGES)]
    await stream.publish(*messages)
    for effects in sorted(draw.sample(range(1, MESSAGES), ROUNDS)):
        programs = [start("plain"), start("faststream")]
        await until(partial(stream.has_rows, effects))
        for program in programs:
            kill(program)
    start("faststream")
    await stream.until_settled()
    delivered = Counter(await stream.rows("delivery"))
    assert set(delivered) == set(messages)
    assert max(delivered.values()) > 1, "nothing was delivered again, so nothing was shown"
    assert await stream.rows() == messages
