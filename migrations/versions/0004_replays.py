"""Replays of many dispatches as jobs, and the log of what operators did.

Safe while the version before it is serving, which knows none of this.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE receiver.replay (
    id uuid NOT NULL CONSTRAINT replay_pkey PRIMARY KEY,
    state text DEFAULT 'running' NOT NULL,
    asked jsonb NOT NULL,
    creates_for text,
    rate double precision,
    matched bigint NOT NULL,
    estimated boolean NOT NULL,
    looked_at bigint DEFAULT 0 NOT NULL,
    replayed bigint DEFAULT 0 NOT NULL,
    created bigint DEFAULT 0 NOT NULL,
    skipped bigint DEFAULT 0 NOT NULL,
    after_event uuid NOT NULL,
    after_handler text DEFAULT '' NOT NULL,
    last_event uuid NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    next_at timestamptz DEFAULT now() NOT NULL,
    stepped_at timestamptz,
    worker text,
    behind text,
    finished_at timestamptz,
    CONSTRAINT replay_state_check CHECK (state IN ('running', 'paused', 'cancelled', 'done')),
    CONSTRAINT replay_rate_check CHECK (rate > 0)
);
CREATE INDEX replay_running_idx ON receiver.replay (next_at) WHERE state = 'running';

CREATE TABLE receiver.audit (
    id uuid NOT NULL CONSTRAINT audit_pkey PRIMARY KEY,
    at timestamptz DEFAULT now() NOT NULL,
    who text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    why text,
    details jsonb DEFAULT '{}' NOT NULL
);
"""

# In a transaction of its own: it must not lock out ingress while it is built.
INDEX = """
CREATE INDEX CONCURRENTLY IF NOT EXISTS dispatch_dead_event_idx ON receiver.dispatch (event_id, handler)
    WHERE state = 'dead'
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute(INDEX)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS receiver.dispatch_dead_event_idx")
    op.execute("DROP TABLE receiver.replay")
    op.execute("DROP TABLE receiver.audit")
