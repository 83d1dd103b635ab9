"""Lanes: order among the dispatches of one handler; and the count of deferrals.

Safe while the version before it is serving: what it stores has no lane, and its own statements go on working.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE receiver.dispatch
    ADD COLUMN lane bigint,
    ADD COLUMN lane_at timestamptz,
    ADD COLUMN blocks boolean DEFAULT false NOT NULL,
    ADD COLUMN deferrals integer DEFAULT 0 NOT NULL,
    ADD COLUMN deferred_at timestamptz,
    DROP CONSTRAINT dispatch_state_check,
    ADD CONSTRAINT dispatch_state_check CHECK (state IN ('ready', 'waiting', 'leased', 'succeeded', 'dead')) NOT VALID;
ALTER TABLE receiver.dispatch VALIDATE CONSTRAINT dispatch_state_check;

CREATE TABLE receiver.lane (
    lane bigint NOT NULL CONSTRAINT lane_pkey PRIMARY KEY,
    handler text NOT NULL,
    handled_at timestamptz NOT NULL,
    event_id uuid NOT NULL
);
"""

# Each in a transaction of its own: they must not lock out ingress while they are built.
INDEXES = (
    """CREATE INDEX CONCURRENTLY IF NOT EXISTS dispatch_owed_idx ON receiver.dispatch (handler, due_at)
       WHERE state IN ('ready', 'leased')""",
    """CREATE INDEX CONCURRENTLY IF NOT EXISTS dispatch_lane_idx ON receiver.dispatch (lane, lane_at, event_id)
       WHERE lane IS NOT NULL AND (state IN ('ready', 'waiting', 'leased') OR blocks)""",
    """CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS dispatch_lane_key ON receiver.dispatch (lane)
       WHERE lane IS NOT NULL AND state = 'leased'""",
    "DROP INDEX CONCURRENTLY IF EXISTS receiver.dispatch_due_idx",
)

OLD_INDEX = """
CREATE INDEX CONCURRENTLY IF NOT EXISTS dispatch_due_idx ON receiver.dispatch (due_at)
    WHERE state IN ('ready', 'leased')
"""
NEW_INDEXES = ("dispatch_owed_idx", "dispatch_lane_idx", "dispatch_lane_key")

BACK = """
UPDATE receiver.dispatch SET state = 'ready' WHERE state = 'waiting';
DROP TABLE receiver.lane;
ALTER TABLE receiver.dispatch
    DROP CONSTRAINT dispatch_state_check,
    ADD CONSTRAINT dispatch_state_check CHECK (state IN ('ready', 'leased', 'succeeded', 'dead')),
    DROP COLUMN lane, DROP COLUMN lane_at, DROP COLUMN blocks, DROP COLUMN deferrals, DROP COLUMN deferred_at;
"""


def upgrade() -> None:
    _each(COLUMNS)
    with op.get_context().autocommit_block():
        for statement in INDEXES:
            op.execute(statement)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(OLD_INDEX)
        for name in NEW_INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS receiver.{name}")
    _each(BACK)


def _each(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
