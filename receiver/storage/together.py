"""The outcome of a batch: several runs of one handler in one transaction, fenced and completed together.

All of them or none: if one is not ours any more, the fence finds too few rows, and the completion divides by zero.
Messages are made as in `outcomes`.
"""

from collections.abc import Sequence
from typing import Final

from receiver.storage.leases import Lease

_FENCE: Final = """
PREPARE receiver_fence_together(uuid[], text, int[], text) AS
SELECT set_config('receiver.fence', $4, true)
FROM unnest($1, $3) AS t(event_id, epoch) CROSS JOIN LATERAL (
    SELECT FROM receiver.dispatch
    WHERE event_id = t.event_id AND handler = $2 AND epoch = t.epoch AND state || '' = 'leased'
    FOR UPDATE
) AS ours
"""

# Each lane's next one is made ready under that lane's lock, as by `receiver_succeed_in_lane`.
_SUCCEED: Final = """
PREPARE receiver_succeed_together(uuid[], text, int[], text, int) AS
WITH done AS (
    UPDATE receiver.dispatch AS d SET state = 'succeeded', due_at = now(), reason = NULL
    FROM unnest($1, $3) AS t(event_id, epoch)
    WHERE d.event_id = t.event_id AND d.handler = $2 AND d.epoch = t.epoch AND d.state || '' = 'leased'
        AND current_setting('receiver.fence', true) = $4
    RETURNING d.event_id, d.epoch, d.attempts, d.trigger, d.worker, d.lane, d.lane_at
), tried AS (
    INSERT INTO receiver.attempt
        (event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome)
    SELECT event_id, $2, epoch, attempts, trigger, worker, now(), clock_timestamp(), 'succeeded' FROM done
), handled AS (
    INSERT INTO receiver.lane AS l (lane, handler, handled_at, event_id)
    SELECT lane, $2, lane_at, event_id FROM done WHERE lane IS NOT NULL
    ON CONFLICT (lane) DO UPDATE SET handled_at = excluded.handled_at, event_id = excluded.event_id
    WHERE (l.handled_at, l.event_id) < (excluded.handled_at, excluded.event_id)
), other AS (
    SELECT first.* FROM done CROSS JOIN LATERAL (
        SELECT event_id, state FROM receiver.dispatch
        WHERE lane = done.lane AND (state IN ('ready', 'waiting', 'leased') OR blocks) AND event_id <> done.event_id
        ORDER BY lane_at, event_id
        LIMIT 1
    ) AS first
), promoted AS (
    UPDATE receiver.dispatch AS d SET state = 'ready'
    FROM other WHERE d.event_id = other.event_id AND d.handler = $2 AND other.state = 'waiting'
)
SELECT 1 / (count(*) = $5)::int FROM done
"""

PREPARE: Final = f"{_FENCE};{_SUCCEED}"

SAVEPOINT: Final = "SAVEPOINT receiver_event"
RELEASE: Final = "RELEASE SAVEPOINT receiver_event"
UNDO: Final = f"ROLLBACK TO SAVEPOINT receiver_event; {RELEASE}"


def fence(leases: Sequence[Lease]) -> str:
    """Begin a transaction and lock the dispatches; ends in `SELECT n`, n being how many are still ours.

    Args:
        leases: of one handler, at most one of each lane.
    """
    return f"BEGIN; EXECUTE receiver_fence_together({_keys(leases)}, '{name(leases)}')"


def succeed(begun: Sequence[Lease], leases: Sequence[Lease]) -> str:
    """Record success and commit. Fails with division by zero if this is not the transaction of our fence.

    Args:
        begun: what `fence` was given.
        leases: those of them that succeeded.
    """
    lanes = ",".join(str(lane) for lane in sorted(lease.lane for lease in leases if lease.lane is not None))
    # In one order everywhere: two batches that lock the same lanes would else wait for each other.
    locked = f"SELECT pg_advisory_xact_lock(lane) FROM unnest('{{{lanes}}}'::bigint[]) AS t(lane); " if lanes else ""
    count = len(leases)
    return f"{locked}EXECUTE receiver_succeed_together({_keys(leases)}, '{name(begun)}', {count}); COMMIT"


def _keys(leases: Sequence[Lease]) -> str:
    ids = ",".join(str(lease.event_id) for lease in leases)
    epochs = ",".join(str(lease.epoch) for lease in leases)
    return f"'{{{ids}}}', '{leases[0].handler}', '{{{epochs}}}'"


def name(leases: Sequence[Lease]) -> str:
    """What tells this batch's transaction from one that a handler began: no run of the first one is ever repeated."""
    return f"{leases[0].event_id}:{leases[0].epoch}"
