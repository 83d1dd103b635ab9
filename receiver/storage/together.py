"""The outcome of a batch: several runs of one handler in one transaction, completed together.

All of them or none: if one is not ours any more, the completion finds too few rows, and divides by zero. A run alone
begins with its success; here that would be committed for all, should one handler end the transaction by SQL of its own.
Messages are made as in `outcomes`.
"""

from collections.abc import Sequence
from typing import Final

from receiver.storage.leases import Lease

# Lanes are locked in one order everywhere: two batches that lock the same ones would else wait for each other.
_SUCCEED: Final = """
PREPARE receiver_succeed_together(uuid[], text, int[], timestamptz[], text, int) AS
WITH done AS (
    UPDATE receiver.dispatch AS d
    SET state = 'succeeded', due_at = now(), started_at = now(), finished_at = clock_timestamp(), reason = NULL
    FROM unnest($1, $3, $4) AS t(event_id, epoch, leased_at)
    WHERE d.event_id = t.event_id AND d.handler = $2 AND d.epoch = t.epoch AND d.leased_at = t.leased_at
        AND d.state || '' = 'leased' AND pg_current_xact_id()::text = $5
    RETURNING d.event_id, d.lane, d.lane_at
), left_lanes AS MATERIALIZED (
    SELECT receiver.leave_lane(lane, $2, event_id, lane_at, true, true)
    FROM (SELECT * FROM done WHERE lane IS NOT NULL ORDER BY lane) AS in_order
)
SELECT 1 / (count(*) = $6)::int FROM done WHERE (SELECT count(*) FROM left_lanes) >= 0
"""

PREPARE: Final = _SUCCEED

# A transaction that has written nothing stands nowhere when PostgreSQL crashes, and its number comes again: to somebody
# else's. A crash resets the statistics of all that it had been doing, so they tell before from after.
BEGUN: Final = "SELECT pg_current_xact_id()::text, stats_reset FROM pg_stat_bgwriter"
"""Names the transaction that has begun, and the time without a crash that it began in."""
COMMITTED: Final = """
SELECT CASE WHEN stats_reset = $2 THEN pg_xact_status($1::text::xid8) = 'committed' ELSE false END FROM pg_stat_bgwriter
"""
"""Whether it is committed; of one that was rolled back and not by us, its handler has done it."""

SAVEPOINT: Final = "SAVEPOINT receiver_event"
RELEASE: Final = "RELEASE SAVEPOINT receiver_event"
UNDO: Final = f"ROLLBACK TO SAVEPOINT receiver_event; {RELEASE}"


def succeed(begun: str, leases: Sequence[Lease]) -> str:
    """Record success and commit. Fails with division by zero if this is another transaction, or one is not ours.

    Args:
        begun: the transaction, as `BEGUN` names it.
        leases: of one handler, at most one of each lane.
    """
    return f"EXECUTE receiver_succeed_together({_keys(leases)}, '{begun}', {len(leases)}); COMMIT"


def _keys(leases: Sequence[Lease]) -> str:
    ids = ",".join(str(lease.event_id) for lease in leases)
    epochs = ",".join(str(lease.epoch) for lease in leases)
    times = ",".join(f'"{lease.leased_at}"' for lease in leases)
    return f"'{{{ids}}}', '{leases[0].handler}', '{{{epochs}}}', '{{{times}}}'"
