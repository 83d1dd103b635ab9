"""What became of a run: the fence before it, success inside its transaction, failure in one of its own.

The hot statements are prepared in the session and run as `BEGIN; EXECUTE …` and `EXECUTE …; COMMIT`: two round
trips beside the handler's own. Such a message carries literals only; they are ids, numbers, checked names and
hexadecimal digits, made here.
"""

from typing import Final

import msgspec

from receiver.storage.leases import Lease

# The setting lives exactly as long as this transaction: a handler that ended it by raw SQL and went on in another
# one has lost it. `state || ''` keeps the planner off the index of what is due: the primary key is always better.
_FENCE: Final = """
PREPARE receiver_fence(uuid, text, int) AS
SELECT set_config('receiver.fence', $3::text, true)
FROM receiver.dispatch
WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND state || '' = 'leased'
FOR UPDATE
"""

# No row: the division fails, and the COMMIT behind it is not reached.
_SUCCEED: Final = """
PREPARE {name}(uuid, text, int) AS
WITH done AS (
    UPDATE receiver.dispatch SET state = 'succeeded', due_at = now(), reason = {reason}
    WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND state || '' = 'leased'
        AND current_setting('receiver.fence', true) = $3::text
    RETURNING attempts, trigger, worker, reason
), tried AS (
    INSERT INTO receiver.attempt
        (event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome, reason)
    SELECT $1, $2, $3, attempts, trigger, worker, now(), clock_timestamp(), 'succeeded', reason FROM done
)
SELECT 1 / count(*) FROM done
"""

# In a lane, under its lock: who comes first of the others is made ready if it waits. It may be older than a run that
# comes again later, which it then overtakes; else it is next only if this one leaves the lane.
_NEXT: Final = """
other AS (
    SELECT event_id, handler, lane_at, state FROM receiver.dispatch
    WHERE lane = {lane} AND (state IN ('ready', 'waiting', 'leased') OR blocks) AND event_id <> $1
    ORDER BY lane_at, event_id
    LIMIT 1
), promoted AS (
    UPDATE receiver.dispatch AS d SET state = 'ready'
    FROM other, {own} AS own
    WHERE d.event_id = other.event_id AND d.handler = other.handler AND other.state = 'waiting'
        AND ({leaves} OR (other.lane_at, other.event_id) < (own.lane_at, $1))
)"""

_SUCCEED_IN_LANE: Final = f"""
PREPARE {{name}}(uuid, text, int, bigint) AS
WITH done AS (
    UPDATE receiver.dispatch SET state = 'succeeded', due_at = now(), reason = {{reason}}
    WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND state || '' = 'leased'
        AND current_setting('receiver.fence', true) = $3::text
    RETURNING attempts, trigger, worker, lane_at, reason
), tried AS (
    INSERT INTO receiver.attempt
        (event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome, reason)
    SELECT $1, $2, $3, attempts, trigger, worker, now(), clock_timestamp(), 'succeeded', reason FROM done
), handled AS (
    INSERT INTO receiver.lane AS l (lane, handler, handled_at, event_id)
    SELECT $4, $2, lane_at, $1 FROM done
    ON CONFLICT (lane) DO UPDATE SET handled_at = excluded.handled_at, event_id = excluded.event_id
    WHERE (l.handled_at, l.event_id) < (excluded.handled_at, excluded.event_id)
), {_NEXT.format(lane="$4", own="done", leaves="true")}
SELECT 1 / count(*) FROM done
"""

# $9: 1 if it counts as an attempt, $10: how it blocks its lane if it is dead, $11: 1 if its handler deferred it.
_FAIL: Final = f"""
PREPARE receiver_fail(uuid, text, int, text, float8, float8, text, text, int, boolean, int, bigint) AS
WITH held AS MATERIALIZED (
    SELECT attempts, trigger, worker, lane_at FROM receiver.dispatch
    WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND state || '' = 'leased'
    FOR UPDATE
), failed AS (
    UPDATE receiver.dispatch AS d
    SET state = CASE $4 WHEN 'dead' THEN 'dead' ELSE 'ready' END, due_at = now() + make_interval(secs => $5),
        trigger = 'scheduled', reason = $7, attempts = d.attempts - 1 + $9, blocks = $4 = 'dead' AND $10,
        deferrals = d.deferrals + $11,
        deferred_at = CASE $11 WHEN 1 THEN coalesce(d.deferred_at, now()) ELSE d.deferred_at END
    FROM held WHERE d.event_id = $1 AND d.handler = $2
), {_NEXT.format(lane="$12", own="held", leaves="($4 = 'dead' AND NOT $10)")}
INSERT INTO receiver.attempt
    (event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome, reason, error)
SELECT $1, $2, $3, attempts, trigger, worker, now() - make_interval(secs => $6), now(), $4, $7, $8 FROM held
"""

_COUNT: Final = """
PREPARE receiver_count(uuid, text, int) AS
UPDATE receiver.dispatch SET attempts = attempts + 1
WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND state || '' = 'leased'
"""

_BURY: Final = f"""
PREPARE receiver_bury(uuid, text, int, int, text, boolean, bigint) AS
WITH held AS MATERIALIZED (
    SELECT lane_at FROM receiver.dispatch
    WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND state || '' = 'leased'
    FOR UPDATE
), {_NEXT.format(lane="$7", own="held", leaves="NOT $6")}
UPDATE receiver.dispatch AS d
SET state = 'dead', due_at = now(), attempts = $4, reason = $5, blocks = $6
FROM held WHERE d.event_id = $1 AND d.handler = $2
"""

FENCE: Final = "SELECT current_setting('receiver.fence', true)"
"""What the fence of the transaction that is open has set."""

# The fence locks the row, which leaves its transaction's number there: if that one was committed though the run failed,
# its handler did it. A lease locks what it then writes, so its own number stands in both places: that says nothing of a
# fence, which a crash of Postgres may have forgotten. What a row tells is 32 bits; the rest is that of now, or of the
# round before.
ENDED: Final = """
WITH seen AS (
    SELECT xmax::text::bigint AS low, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next
    FROM receiver.dispatch
    WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND state || '' = 'leased' AND xmax <> xmin
), told AS (
    SELECT low, (next >> 32 << 32) + low - CASE WHEN low >= next % (1::bigint << 32) THEN 1::bigint << 32 ELSE 0 END
        AS id
    FROM seen
)
SELECT EXISTS (SELECT FROM told WHERE low > 0 AND id > 0 AND pg_xact_status(id::text::xid8) = 'committed')
"""
"""Whether a handler has committed the transaction of its fence; to be asked after that was rolled back."""

SUCCEEDED: Final = """
SELECT EXISTS (
    SELECT FROM receiver.dispatch WHERE event_id = $1 AND handler = $2 AND epoch = $3 AND state || '' = 'succeeded'
)
"""
"""Whether a run's success is committed."""

ALREADY_DONE: Final = "already_done"
"""The reason of a success whose handler was not run, since its effect was there."""

_SUCCESSES: Final = ";".join(
    statement.format(name=f"receiver_{verb}{place}", reason=reason)
    for statement, place in ((_SUCCEED, ""), (_SUCCEED_IN_LANE, "_in_lane"))
    for verb, reason in (("succeed", "NULL"), ("skip", f"'{ALREADY_DONE}'"))
)

PREPARE: Final = f"{_FENCE};{_SUCCESSES};{_FAIL};{_COUNT};{_BURY}"


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


def fence(lease: Lease) -> str:
    """Begin a transaction and lock the dispatch, if it is still ours; ends in `SELECT 1`, or `SELECT 0` if not."""
    return f"BEGIN; EXECUTE receiver_fence({_key(lease)})"


def succeed(lease: Lease, following: Lease | None = None, *, skipped: bool = False) -> str:
    """Record success and commit; in the same message, begin the transaction of the run that follows, see `fence`.

    Fails with division by zero if this is not the transaction of our fence.

    Args:
        lease: of the run.
        following: of the next one on this connection: its round trip is saved.
        skipped: its handler was not run, since its effect was there.
    """
    execute = f"receiver_{'skip' if skipped else 'succeed'}{'' if lease.lane is None else '_in_lane'}"
    lane = "" if lease.lane is None else f", {lease.lane}"
    begin = "" if following is None else f"; {fence(following)}"
    return f"{_locked(lease)}EXECUTE {execute}({_key(lease)}{lane}); COMMIT{begin}"


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
        f"ROLLBACK; {_locked(lease)}EXECUTE receiver_fail({_key(lease)}, '{outcome}', {failure.delay:.6f},"
        f" {elapsed:.6f}, {_literal(failure.reason)}, {_literal(failure.error)}, {int(failure.counts)},"
        f" {failure.blocks}, {int(failure.deferred)}, {_lane(lease)})"
    )


def bury(lease: Lease, reason: str, *, blocks: bool) -> str:
    """Make it dead without a run; ends in `UPDATE 1` if it was still ours.

    Args:
        lease: of the dispatch.
        reason: why.
        blocks: its lane waits for its replay.
    """
    return (
        f"{_locked(lease)}EXECUTE receiver_bury({_key(lease)}, {lease.attempt - 1}, {_literal(reason)}, {blocks},"
        f" {_lane(lease)})"
    )


def count(lease: Lease) -> str:
    """Count the attempt of a suspect before it starts, come what may; ends in `UPDATE 1` if it was still ours."""
    return f"EXECUTE receiver_count({_key(lease)})"


def _key(lease: Lease) -> str:
    # The name comes from the registry, which lets no quote in.
    return f"'{lease.event_id}', '{lease.handler}', {lease.epoch}"


def _locked(lease: Lease) -> str:
    """A statement of its own, so that what follows sees all that was done under the lock before."""
    return f"SELECT pg_advisory_xact_lock({lease.lane}); " if lease.lane is not None else ""


def _lane(lease: Lease) -> str:
    return "NULL" if lease.lane is None else str(lease.lane)


def _literal(text: str | None) -> str:
    """`text` as an SQL expression that can hold nothing but itself."""
    if text is None:
        return "NULL"
    encoded = text.replace("\0", "").encode("utf-8", "replace")
    return f"convert_from(decode('{encoded.hex()}', 'hex'), 'UTF8')"
