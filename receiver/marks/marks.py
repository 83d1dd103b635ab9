"""Marks: `stored:<fingerprint>` under the key of each stored callback. A known duplicate is answered from here.

Everything of one moment travels in one round trip: the questions, the new marks and the nudge to the workers. One
round trip is in flight; what comes up meanwhile goes with the next. Nobody waits for Redis: no answer means no mark.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from receiver.marks.client import UNREACHABLE, Client

log = structlog.get_logger(__name__)

CHANNEL: Final = "receiver:due"
_PREFIX: Final = b"receiver:mark:"
_PAUSE_SECONDS: Final = 0.5
_MOST_WAITING: Final = 10_000
_LEAVE: Final = "for i, k in ipairs(KEYS) do redis.call('SET', k, ARGV[i + 1], 'EX', ARGV[1]) end"


Heard = Callable[[bool], None]
"""Hears whether the mark is there and agrees. Not called when Redis gives no answer."""


_Question = tuple[bytes, bytes, Heard]


def mark_name(namespace: bytes, key: bytes) -> bytes:
    """The Redis key of a mark: it dies with the Postgres timeline that it speaks of, for `namespace` names that.

    The dedup key stands in it as it is, 20 bytes.
    """
    return _PREFIX + namespace + b":" + key


def mark_value(fingerprint: bytes | None) -> bytes:
    """What the mark says."""
    return b"stored:" + (fingerprint or b"")


class Marks:
    """Coalesced questions, marks and nudges over one Redis.

    Args:
        client: see `client.connect`.
        ttl: seconds a mark lives.
    """

    def __init__(self, client: Client, *, ttl: int) -> None:
        self._client = client
        self._ttl = ttl
        self._questions: list[_Question] = []
        self._marks: dict[bytes, bytes] = {}
        self._nudge = False
        self._task: asyncio.Task[None] | None = None
        self._resume_at = 0.0
        self._loop = asyncio.get_running_loop()
        self.failures = 0
        """Round trips that failed since the start."""

    @property
    def well(self) -> bool:
        """Whether Redis is asked at the moment."""
        return self._loop.time() >= self._resume_at and len(self._questions) < _MOST_WAITING

    def look_up(self, namespace: bytes, key: bytes, fingerprint: bytes | None, heard: Heard) -> None:
        """Ask for a mark.

        Args:
            namespace: see `storage/identity.py`.
            key: the dedup key.
            fingerprint: what the mark must say.
            heard: called at most once.
        """
        if self.well:
            self._questions.append((mark_name(namespace, key), mark_value(fingerprint), heard))
            self._start()

    def leave(self, namespace: bytes, key: bytes, fingerprint: bytes | None) -> None:
        """Leave a mark for a committed row, some time soon, if Redis is well."""
        if self._open() and len(self._marks) < _MOST_WAITING:
            self._marks[mark_name(namespace, key)] = mark_value(fingerprint)
            self._start()

    def nudge(self) -> None:
        """Wake the workers: something is due."""
        if self._open():
            self._nudge = True
            self._start()

    async def close(self) -> None:
        """Send what waits and disconnect."""
        if self._task is not None:
            await self._task
        await self._client.aclose()

    def _open(self) -> bool:
        return self._loop.time() >= self._resume_at

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._pump(), name="receiver-marks")

    async def _pump(self) -> None:
        try:
            while self._questions or self._marks or self._nudge:
                await self._round_trip()
        except UNREACHABLE as error:
            # Not tried again at once: a Redis that hangs would be waited for over and over.
            self._resume_at = self._loop.time() + _PAUSE_SECONDS
            self._questions, self._marks, self._nudge = [], {}, False
            self.failures += 1
            log.warning("redis_unreachable", error=type(error).__name__)
        finally:
            self._task = None

    async def _round_trip(self) -> None:
        questions, self._questions = self._questions, []
        marks, self._marks = self._marks, {}
        nudge, self._nudge = self._nudge, False
        pipeline = self._client.pipeline(transaction=False)
        if questions:
            pipeline.mget([question[0] for question in questions])
        if nudge:
            pipeline.publish(CHANNEL, b"")
        if marks:
            pipeline.eval(_LEAVE, len(marks), *marks, self._ttl, *marks.values())
        if not len(pipeline):
            return
        replies = await pipeline.execute(raise_on_error=False)
        self._answer(questions, replies)

    def _answer(self, questions: list[_Question], replies: list[object]) -> None:
        for reply in replies:
            if isinstance(reply, Exception):  # out of memory, read-only replica: that command had no effect
                self.failures += 1
                log.warning("redis_refused", error=type(reply).__name__)
        if questions and isinstance(replies[0], list):
            for (_, expected, heard), found in zip(questions, replies[0], strict=True):
                heard(found == expected)
