"""The statements by which a worker takes dispatches, and those that keep and return them. `leases` runs them.

What has no lane is leased by one statement. For what has one, three steps, each with a snapshot of its own: find
candidates (`CLAIM`), lock their lanes (`LOCK`), look at what each lane holds *then* and decide (`LANES`). Merged into
one statement it would break: its snapshot would be older than the lock, and an older event that commits in between
would be overtaken.

Why order holds: a row of a lane is leased or parked (`waiting`) only under its lane's lock. It is parked only while
another unfinished row of the lane is active, and that one stops being active only by an outcome, which makes the next
one ready under the same lock, or by a claim, which decides again.
"""

from typing import Final

_EVENT: Final = """e.source, e.provider, e.external_id, e.type, e.entity_id, e.livemode, e.occurred_at, e.received_at,
       e.headers::text, e.body, e.trust"""

# In each handler's own order of due_at alone: rows that are due at the same instant lie in the order of their
# arrival, and a tie-break would have to sort a whole replay before the first row of it could be taken.
CLAIM: Final = f"""
WITH due AS MATERIALIZED (
    SELECT d.*, d.lane IS NULL AND rank() OVER (PARTITION BY d.handler, d.lane ORDER BY d.due_at, d.event_id)
        <= asked.most AS free
    FROM unnest($1::text[], $2::int[], $7::int[]) AS asked(handler, most, look) CROSS JOIN LATERAL (
        SELECT event_id, handler, state, epoch, attempts, trigger, worker, leased_at, due_at, lane, deferrals,
               deferred_at
        FROM receiver.dispatch
        WHERE handler = asked.handler AND state IN ('ready', 'leased') AND due_at <= now()
            AND ($6 OR state = 'ready' OR attempts < $5)
        ORDER BY due_at
        LIMIT asked.look
        FOR UPDATE SKIP LOCKED
    ) AS d
), lost AS (
    INSERT INTO receiver.attempt
        (event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome, reason)
    SELECT event_id, handler, epoch, attempts, trigger, coalesce(worker, 'unknown'), coalesce(leased_at, due_at),
           due_at, 'lost', 'lease_expired'
    FROM due WHERE state = 'leased' AND free
    ON CONFLICT DO NOTHING
), leased AS (
    UPDATE receiver.dispatch AS d
    SET state = 'leased', epoch = d.epoch + 1, due_at = now() + $3, worker = $4, leased_at = now(),
        attempts = d.attempts + CASE WHEN due.state = 'leased' AND due.attempts >= $5 THEN 0 ELSE 1 END
    FROM due
    WHERE d.event_id = due.event_id AND d.handler = due.handler AND due.free
    RETURNING d.event_id, d.handler, d.epoch, due.attempts, due.state = 'leased' AND due.attempts >= $5 AS suspect,
        due.due_at, d.deferrals, d.deferred_at, d.leased_at
)
SELECT l.event_id, l.handler, l.epoch, l.attempts + 1, l.suspect, NULL::bigint, false, l.deferrals,
       extract(epoch FROM now() - l.deferred_at)::float8, l.due_at, l.leased_at, {_EVENT}
FROM leased AS l LEFT JOIN receiver.event AS e ON e.id = l.event_id
UNION ALL
SELECT event_id, handler, NULL, NULL, NULL, lane, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL
FROM due WHERE lane IS NOT NULL
"""

LOCK: Final = """
BEGIN;
SELECT set_config('receiver.lanes', coalesce(array_agg(lane)::text, '{{}}'), true)
FROM unnest('{{{lanes}}}'::bigint[]) AS asked(lane) WHERE pg_try_advisory_xact_lock(lane)
"""

# `seen` is what is in reach of a decision: candidates that are still what they were, and heads that wait. A head is
# leased if it is due and nothing else of its lane is leased. It stays ready, for its own time to come or for the next
# claim to find it, if it is not due or if what is leased has run out and is parked here. All the rest waits.
LANES: Final = f"""
WITH held AS MATERIALIZED (
    SELECT unnest(current_setting('receiver.lanes')::bigint[]) AS lane
), candidate AS MATERIALIZED (
    SELECT d.event_id, d.handler, d.lane, d.state, d.due_at, d.attempts
    FROM unnest($1::uuid[], $2::text[]) AS t(event_id, handler)
    JOIN receiver.dispatch AS d USING (event_id, handler) JOIN held ON held.lane = d.lane
    WHERE d.due_at <= now() AND d.state || '' IN ('ready', 'leased')
    FOR UPDATE OF d SKIP LOCKED
), head AS MATERIALIZED (
    SELECT first.* FROM held CROSS JOIN LATERAL (
        SELECT event_id, handler, lane, state, due_at, attempts FROM receiver.dispatch
        WHERE lane = held.lane AND (state IN ('ready', 'waiting', 'leased') OR blocks)
        ORDER BY lane_at, event_id
        LIMIT 1
    ) AS first
), other AS MATERIALIZED (
    SELECT head.lane, EXISTS (SELECT FROM candidate WHERE candidate.event_id = d.event_id) AS ran_out
    FROM head JOIN receiver.dispatch AS d ON d.lane = head.lane AND d.state = 'leased'
    WHERE d.event_id <> head.event_id
), seen AS (
    SELECT * FROM candidate UNION SELECT * FROM head WHERE state = 'waiting'
), decided AS MATERIALIZED (
    SELECT seen.*, CASE
        WHEN head.event_id IS DISTINCT FROM seen.event_id THEN 'waiting'
        WHEN other.lane IS NULL AND seen.due_at <= now() THEN 'leased'
        WHEN other.lane IS NULL OR other.ran_out THEN 'ready'
        ELSE 'waiting' END AS next
    FROM seen LEFT JOIN head USING (lane) LEFT JOIN other USING (lane)
), lost AS (
    INSERT INTO receiver.attempt
        (event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome, reason)
    SELECT d.event_id, d.handler, d.epoch, d.attempts, d.trigger, coalesce(d.worker, 'unknown'),
           coalesce(d.leased_at, d.due_at), d.due_at, 'lost', 'lease_expired'
    FROM decided JOIN receiver.dispatch AS d USING (event_id, handler) WHERE decided.state = 'leased'
    ON CONFLICT DO NOTHING
), moved AS (
    UPDATE receiver.dispatch AS d
    SET state = p.next,
        epoch = d.epoch + CASE WHEN 'leased' IN (p.next, p.state) THEN 1 ELSE 0 END,
        due_at = CASE p.next WHEN 'leased' THEN now() + $3 ELSE d.due_at END,
        worker = CASE p.next WHEN 'leased' THEN $4 ELSE d.worker END,
        leased_at = CASE p.next WHEN 'leased' THEN now() ELSE d.leased_at END,
        attempts = d.attempts
            + CASE WHEN p.next <> 'leased' OR p.state = 'leased' AND p.attempts >= $5 THEN 0 ELSE 1 END
    FROM decided AS p
    WHERE d.event_id = p.event_id AND d.handler = p.handler AND (p.next <> p.state OR p.next = 'leased')
    RETURNING d.event_id, d.handler, d.state, d.epoch, p.attempts,
        p.state = 'leased' AND p.attempts >= $5 AS suspect, d.lane, d.lane_at, d.deferrals, d.deferred_at, p.due_at,
        d.leased_at
)
SELECT m.event_id, m.handler, m.epoch, m.attempts + 1, m.suspect, m.lane,
       coalesce((l.handled_at, l.event_id) > (m.lane_at, m.event_id), false), m.deferrals,
       extract(epoch FROM now() - m.deferred_at)::float8, m.due_at, m.leased_at, {_EVENT}
FROM moved AS m LEFT JOIN receiver.lane AS l USING (lane) LEFT JOIN receiver.event AS e ON e.id = m.event_id
WHERE m.state = 'leased'
"""

# SKIP LOCKED: a row that is locked is being run, and its lock guards it better than any lease.
RENEW: Final = """
WITH held AS MATERIALIZED (
    SELECT d.event_id, d.handler
    FROM unnest($1::uuid[], $2::text[], $3::int[]) AS t(event_id, handler, epoch)
    JOIN receiver.dispatch AS d USING (event_id, handler)
    WHERE d.epoch = t.epoch AND d.state || '' = 'leased'
    FOR UPDATE OF d SKIP LOCKED
)
UPDATE receiver.dispatch AS d SET due_at = now() + $4
FROM held WHERE d.event_id = held.event_id AND d.handler = held.handler
"""

# What goes back is ready, not waiting: so it is active, and its lane cannot be forgotten.
GIVE_BACK: Final = """
UPDATE receiver.dispatch AS d
SET state = 'ready', due_at = now(), attempts = t.attempts
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[]) AS t(event_id, handler, epoch, attempts)
WHERE d.event_id = t.event_id AND d.handler = t.handler AND d.epoch = t.epoch AND d.state || '' = 'leased'
"""

# Between the parts of one statement (Parse, Bind, Execute) PostgreSQL has no limit of its own: the session is active,
# not idle in its transaction, and a statement's time-out does not end a wait for the client. One is there for
# microseconds, unless its client is frozen or an answer to it was lost. What COPY brings in may come as slowly as it
# likes. Ended is what is selected, not in the condition: of that, a plan may try any part first.
END_DEAF: Final = """
SELECT pid, application_name, extract(epoch FROM clock_timestamp() - state_change)::float8, pg_terminate_backend(pid)
FROM pg_stat_activity AS a
WHERE usename = session_user AND datname = current_database() AND starts_with(application_name, 'receiver-')
    AND state = 'active' AND wait_event = 'ClientRead' AND xact_start IS NOT NULL
    AND state_change < clock_timestamp() - $1::interval
    AND NOT EXISTS (SELECT FROM pg_stat_progress_copy AS c WHERE c.pid = a.pid)
"""
