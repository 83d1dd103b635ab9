"""What a run does when it leaves its lane is one function: lock, note how far the lane is, make the next one ready.

Safe while the version before it is serving: that says the same in statements of its own.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION receiver.leave_lane(
            of_lane bigint, of_handler text, of_event uuid, of_at timestamptz, handled boolean, leaves boolean
        ) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE
            other record;
        BEGIN
            -- Each statement behind this one sees all that was done under the lock before.
            PERFORM pg_advisory_xact_lock(of_lane);
            IF handled THEN
                INSERT INTO receiver.lane AS l (lane, handler, handled_at, event_id)
                VALUES (of_lane, of_handler, of_at, of_event)
                ON CONFLICT (lane) DO UPDATE SET handled_at = excluded.handled_at, event_id = excluded.event_id
                WHERE (l.handled_at, l.event_id) < (excluded.handled_at, excluded.event_id);
            END IF;
            SELECT event_id, handler, lane_at, state INTO other FROM receiver.dispatch
            WHERE lane = of_lane AND (state IN ('ready', 'waiting', 'leased') OR blocks) AND event_id <> of_event
            ORDER BY lane_at, event_id
            LIMIT 1;
            IF other.state = 'waiting' AND (leaves OR (other.lane_at, other.event_id) < (of_at, of_event)) THEN
                UPDATE receiver.dispatch SET state = 'ready'
                WHERE event_id = other.event_id AND handler = other.handler;
            END IF;
        END
        $$
        """
    )
    op.execute(
        """
        COMMENT ON FUNCTION receiver.leave_lane IS
        'At the end of a run. handled: it succeeded. leaves: it is unfinished no more; if it is to come again, the '
        'first of the others is next only if it is older.'
        """
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION receiver.leave_lane")
