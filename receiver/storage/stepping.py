"""The connection on which a worker steps replay jobs.

A job's row is locked for the length of a step, and by nothing else: whoever gets the lock steps it, and one that dies
leaves it where its last commit left it. So nothing is skipped and nothing is taken twice, however many workers there
are.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from receiver.errors import StoreUnavailable
from receiver.storage.engine import make_engine
from receiver.storage.own import CUT, KeptConnection, is_last_word
from receiver.storage.selections import Cursor, Range, Selection
from receiver.storage.steps import ANSWER_SECONDS, Step, Taken

log = structlog.get_logger(__name__)

_LOCKED_SECONDS: Final = 10
"""How long a frozen worker may keep a job from others."""
_PUT_OFF_SECONDS: Final = 5.0
"""How long a job is left alone whose step failed: it would be the first in turn again, and others would never be."""

_WAIT: Final = """
SELECT extract(epoch FROM min(next_at) - clock_timestamp())::float8 FROM receiver.replay
WHERE state = 'running' AND (creates_for IS NULL OR creates_for = ANY($1)) AND id <> ALL($2::uuid[])
"""
_TAKE: Final = """
SELECT id, asked::text AS asked, rate, created_at, after_event, after_handler, last_event FROM receiver.replay
WHERE state = 'running' AND next_at <= now() AND (creates_for IS NULL OR creates_for = ANY($1))
    AND id <> ALL($2::uuid[])
ORDER BY next_at LIMIT 1
FOR UPDATE SKIP LOCKED
"""
_PUT_OFF: Final = "UPDATE receiver.replay SET next_at = now() + make_interval(secs => $2) WHERE id = $1"


def step_engine(url: str) -> AsyncEngine:
    """The engine of a `StepConnection`."""
    settings = {
        "default_transaction_isolation": "read committed",
        "idle_in_transaction_session_timeout": f"{_LOCKED_SECONDS}s",
        "statement_timeout": f"{ANSWER_SECONDS}s",
        # Pages are read from an index, in its order: statistics that lag behind must not make anything else of them.
        "jit": "off",
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
    }
    return make_engine(url, name="receiver-replays", size=1, settings=settings)


class StepConnection:
    """The statements on a connection of their own, which is opened when first needed and again after each loss.

    Args:
        engine: see `step_engine`.
        worker: who takes the steps.
    """

    def __init__(self, engine: AsyncEngine, *, worker: str) -> None:
        self._kept = KeptConnection(engine)
        self._worker = worker
        self._refused: list[uuid.UUID] = []

    async def wait(self, handlers: Sequence[str]) -> float | None:
        """Seconds until a job may be stepped, zero or less if one may be now; None: there is none.

        Args:
            handlers: those that are known here: jobs that create dispatches of others are left to those who know them.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer.
        """
        async with self._kept.use() as own:
            seconds = await own.raw.fetchval(_WAIT, handlers, self._refused, timeout=ANSWER_SECONDS)
            return None if seconds is None else float(seconds)

    @asynccontextmanager
    async def step(self, handlers: Sequence[str]) -> AsyncIterator[Step | None]:
        """Lock the job whose turn it is; commit at the end of the block, or roll back if it raises.

        None is given if there is no such job, or if another worker is stepping it. If the block raises, the job is put
        off, so that others have their turn; not if the connection was lost, for which no job is to blame.

        Args:
            handlers: as in `wait`.

        Raises:
            StoreUnavailable: Postgres cannot be reached, or did not answer; the step is taken or it is not.
        """
        job: Taken | None = None
        try:
            async with self._kept.use() as own:  # which is closed if anything fails: that rolls back without a word
                await own.say("BEGIN", ANSWER_SECONDS)
                row = await own.raw.fetchrow(_TAKE, handlers, self._refused, timeout=ANSWER_SECONDS)
                job = None if row is None else self._taken(row)
                yield None if job is None else Step(own.raw, job, self._worker)
                await own.say("COMMIT", ANSWER_SECONDS)
        except Exception as error:
            if job is not None and not _is_lost(error):
                log.warning("replay_put_off", replay=str(job.id), seconds=_PUT_OFF_SECONDS)
                await self._put_off(job.id)
            raise

    async def close(self) -> None:
        """Close the connection."""
        await self._kept.close()

    async def _put_off(self, job_id: uuid.UUID) -> None:
        async with self._kept.use() as own:
            await own.raw.execute(_PUT_OFF, job_id, _PUT_OFF_SECONDS, timeout=ANSWER_SECONDS)

    def _taken(self, row: asyncpg.Record) -> Taken | None:
        try:
            asked = msgspec.json.decode(row["asked"], type=Selection)
        except msgspec.ValidationError:  # asked by a newer version, which will step it itself
            self._refused.append(uuid.UUID(bytes=row["id"].bytes))
            return None
        return Taken(
            id=row["id"],
            asked=asked,
            rate=row["rate"],
            span=Range(
                after=Cursor(row["after_event"], row["after_handler"]), last=row["last_event"], until=row["created_at"]
            ),
        )


def _is_lost(error: Exception) -> bool:
    """Whether the connection was lost. A statement that took too long may be the job's fault, and counts as such."""
    cause = error.__cause__ or error
    cut = isinstance(cause, CUT) and not isinstance(cause, TimeoutError)
    return isinstance(error, StoreUnavailable) and (is_last_word(cause) or cut)
