"""What becomes of a run: success with its first statement, failure in a transaction of its own.

A run's transaction begins by marking its dispatch as succeeded: one write is the fence that lets nobody else in, the
lock that lasts as long as the run, and the record that is committed with what the handler wrote, or rolled back with
it. So there is nothing to say at the end but COMMIT; the next run begins in the same message, and its first statement
may come in it too: one round trip for a run with one statement of its own. How they are sent, `chain` and `ahead` know.
All other messages are SQL with literals only; they are ids, numbers, checked names and hexadecimal digits, made here,
for statements that are prepared in the session.
"""

from typing import Final

import msgspec

from receiver.storage.ahead import Step
from receiver.storage.chain import COMMIT
from receiver.storage.leases import Lease

# `state || ''` keeps the planner off the index of what is due: the primary key is always better.
_RUN: Final = """
PREPARE receiver_run(uuid, text, int, timestamptz) AS
UPDATE receiver.dispatch
SET state = 'succeeded', due_at = now(), started_at = now(), finished_at = NULL, reason = NULL
WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND leased_at = $4 AND state || '' = 'leased'
"""

# The row's version is then this transaction's own; if it is not, the division fails, and the COMMIT behind it is not
# reached. A handler that ended our transaction by SQL of its own is found so.
_OURS: Final = "event_id = $1 AND handler = $2 AND xmin = pg_current_xact_id()::xid"
_CHECK: Final = f"""
PREPARE receiver_check(uuid, text) AS SELECT 1 / count(*) FROM receiver.dispatch WHERE {_OURS}
"""
_FINISH: Final = f"""
PREPARE receiver_finish(uuid, text, text) AS
WITH finished AS (
    UPDATE receiver.dispatch SET finished_at = clock_timestamp(), reason = $3 WHERE {_OURS} RETURNING 1
)
SELECT 1 / count(*) FROM finished
"""

# In a lane, at the end of a run, so that the lane's lock is held for moments; see migration 0010. The function's own
# statements see what was done under the lock before, as one statement with the lock in it would not.
_LEAVE: Final = """
PREPARE receiver_leave(uuid, text) AS
SELECT receiver.leave_lane(lane, handler, event_id, lane_at, true, true) FROM receiver.dispatch
WHERE event_id = $1 AND handler = $2
"""
_LEFT: Final = """
left_lane AS MATERIALIZED (
    SELECT receiver.leave_lane(lane, $2, $1, lane_at, false, {leaves}) FROM held WHERE lane IS NOT NULL
)"""

# $9: 1 if it counts as an attempt, $10: how it blocks its lane if it is dead, $11: 1 if its handler deferred it, $12:
# its handler may have committed it as succeeded, by SQL of its own.
_FAIL: Final = f"""
PREPARE receiver_fail(uuid, text, int, text, float8, float8, text, text, int, boolean, int, boolean, timestamptz) AS
WITH held AS MATERIALIZED (
    SELECT attempts, trigger, worker, lane, lane_at FROM receiver.dispatch
    WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND leased_at = $13
        AND (state || '' = 'leased' OR $12 AND state || '' = 'succeeded')
    FOR UPDATE
), failed AS (
    UPDATE receiver.dispatch AS d
    SET state = CASE $4 WHEN 'dead' THEN 'dead' ELSE 'ready' END, due_at = now() + make_interval(secs => $5),
        started_at = NULL, finished_at = NULL, trigger = 'scheduled', reason = $7,
        attempts = d.attempts - 1 + $9, blocks = $4 = 'dead' AND $10,
        deferrals = d.deferrals + $11,
        deferred_at = CASE $11 WHEN 1 THEN coalesce(d.deferred_at, now()) ELSE d.deferred_at END
    FROM held WHERE d.event_id = $1 AND d.handler = $2
), {_LEFT.format(leaves="$4 = 'dead' AND NOT $10")}
INSERT INTO receiver.attempt
    (event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome, reason, error)
SELECT $1, $2, $3, attempts, trigger, worker, now() - make_interval(secs => $6), now(), $4, $7, $8
FROM held LEFT JOIN left_lane ON true
"""

_COUNT: Final = """
PREPARE receiver_count(uuid, text, int) AS
UPDATE receiver.dispatch SET attempts = attempts + 1
WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND state || '' = 'leased'
"""

_BURY: Final = f"""
PREPARE receiver_bury(uuid, text, int, int, text, boolean) AS
WITH held AS MATERIALIZED (
    SELECT lane, lane_at FROM receiver.dispatch
    WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND state || '' = 'leased'
    FOR UPDATE
), {_LEFT.format(leaves="NOT $6")}
UPDATE receiver.dispatch AS d
SET state = 'dead', due_at = now(), attempts = $4, reason = $5, blocks = $6
FROM held LEFT JOIN left_lane ON true WHERE d.event_id = $1 AND d.handler = $2
"""

SUCCEEDED: Final = """
SELECT EXISTS (
    SELECT FROM receiver.dispatch
    WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND leased_at = $4 AND state || '' = 'succeeded'
)
"""
"""Whether a run's success is committed: by us, or by its handler, which must not do that."""

ALREADY_DONE: Final = "already_done"
"""The reason of a success whose handler was not run, since its effect was there."""

PREPARE: Final = f"{_RUN};{_CHECK};{_FINISH};{_LEAVE};{_FAIL};{_COUNT};{_BURY}"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How a run failed and what comes next."""

    dead: bool
    """No further automatic run."""
    delay: float
    """Seconds until the next one."""
    reason: str
    """A few words for operators."""
    error: str | None
    """Type, message and place of the exception."""
    counts: bool = True
    """False where the handler is not to blame."""
    deferred: bool = False
    """The handler said that it is too early."""
    blocks: bool = False
    """If it is dead, its lane waits for its replay."""
    ended: bool = False
    """The handler ended the transaction by SQL of its own, and may have committed that the run succeeded."""


def begin(lease: Lease) -> list[Step]:
    """Begin a run's transaction, if its dispatch is still ours; ends in `UPDATE 1`, or `UPDATE 0` if it is not."""
    return [("BEGIN",), ("receiver_run", lease.event_id, lease.handler, lease.epoch, lease.leased_at)]


def succeed(
    lease: Lease, following: Lease | None = None, *, check: bool = False, finish: bool = False, skipped: bool = False
) -> list[Step]:
    """Commit a run; then begin the one that follows, see `begin`.

    Args:
        lease: of the run.
        following: of the next one on this connection: its round trip is saved.
        check: fail with division by zero if this is not the transaction that `begin` began.
        finish: the same, and record when it finished. What does not is as good as instantaneous.
        skipped: its handler was not run, since its effect was there.
    """
    key = (lease.event_id, lease.handler)
    steps: list[Step] = [] if lease.lane is None else [("receiver_leave", *key)]
    if finish or skipped:
        steps.append(("receiver_finish", *key, ALREADY_DONE if skipped else None))
    elif check:
        steps.append(("receiver_check", *key))
    steps.append(COMMIT)
    return steps if following is None else [*steps, *begin(following)]


def check(lease: Lease) -> str:
    """Fail with division by zero if this is not the transaction that `begin` began."""
    return f"EXECUTE receiver_check({_key(lease)})"


def fail(lease: Lease, failure: Failure, elapsed: float) -> str:
    """Roll back, then record the failure in a transaction of its own; ends in `INSERT 0 1` if it was still ours.

    One message, so that nobody takes the dispatch over between the two.

    Args:
        lease: of the run.
        failure: to be recorded.
        elapsed: seconds that the run took.
    """
    outcome = "dead" if failure.dead else "retry"
    return (
        f"ROLLBACK; EXECUTE receiver_fail({_key(lease)}, {lease.epoch}, '{outcome}',"
        f" {failure.delay:.6f}, {elapsed:.6f}, {_literal(failure.reason)}, {_literal(failure.error)},"
        f" {int(failure.counts)}, {failure.blocks}, {int(failure.deferred)}, {failure.ended}, '{lease.leased_at}')"
    )


def bury(lease: Lease, reason: str, *, blocks: bool) -> str:
    """Make it dead without a run; ends in `UPDATE 1` if it was still ours.

    Args:
        lease: of the dispatch.
        reason: why.
        blocks: its lane waits for its replay.
    """
    return f"EXECUTE receiver_bury({_key(lease)}, {lease.epoch}, {lease.attempt - 1}, {_literal(reason)}, {blocks})"


def count(lease: Lease) -> str:
    """Count the attempt of a suspect before it starts, come what may; ends in `UPDATE 1` if it was still ours."""
    return f"EXECUTE receiver_count({_key(lease)}, {lease.epoch})"


def _key(lease: Lease) -> str:
    # The name comes from the registry, which lets no quote in.
    return f"'{lease.event_id}', '{lease.handler}'"


def _literal(text: str | None) -> str:
    """`text` as an SQL expression that can hold nothing but itself."""
    if text is None:
        return "NULL"
    encoded = text.replace("\0", "").encode("utf-8", "replace")
    return f"convert_from(decode('{encoded.hex()}', 'hex'), 'UTF8')"
