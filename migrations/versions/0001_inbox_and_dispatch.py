"""Tables of the inbox and of dispatch."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("installation", "dedup_key", "event", "dispatch", "attempt", "quarantine")

UP = """
CREATE TABLE receiver.installation (
    id uuid DEFAULT gen_random_uuid() NOT NULL CONSTRAINT installation_pkey PRIMARY KEY,
    created_at timestamptz DEFAULT now() NOT NULL
);
INSERT INTO receiver.installation DEFAULT VALUES;

CREATE TABLE receiver.dedup_key (
    key bytea NOT NULL CONSTRAINT dedup_key_pkey PRIMARY KEY,
    event_id uuid NOT NULL,
    fingerprint bytea,
    created_at timestamptz DEFAULT now() NOT NULL,
    duplicates integer DEFAULT 0 NOT NULL
);

CREATE TABLE receiver.event (
    id uuid NOT NULL CONSTRAINT event_pkey PRIMARY KEY,
    key bytea NOT NULL,
    source text NOT NULL,
    provider text NOT NULL,
    external_id text NOT NULL,
    type text,
    entity_id text,
    livemode boolean,
    occurred_at timestamptz,
    received_at timestamptz DEFAULT now() NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL
) PARTITION BY RANGE (id);
-- Bodies are short and read once: compressing them costs ingress more than it saves.
ALTER TABLE receiver.event ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE receiver.event_default PARTITION OF receiver.event DEFAULT;

CREATE TABLE receiver.dispatch (
    event_id uuid NOT NULL,
    handler text NOT NULL,
    state text DEFAULT 'ready' NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    due_at timestamptz DEFAULT now() NOT NULL,
    trigger text DEFAULT 'scheduled' NOT NULL,
    reason text,
    worker text,
    leased_at timestamptz,
    CONSTRAINT dispatch_pkey PRIMARY KEY (event_id, handler),
    CONSTRAINT dispatch_state_check CHECK (state IN ('ready', 'leased', 'succeeded', 'dead')),
    CONSTRAINT dispatch_trigger_check CHECK (trigger IN ('scheduled', 'manual'))
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX dispatch_due_idx ON receiver.dispatch (due_at) WHERE state IN ('ready', 'leased');
CREATE INDEX dispatch_dead_idx ON receiver.dispatch (due_at) WHERE state = 'dead';

CREATE TABLE receiver.attempt (
    event_id uuid NOT NULL,
    handler text NOT NULL,
    epoch integer NOT NULL,
    number integer NOT NULL,
    trigger text NOT NULL,
    worker text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz DEFAULT now() NOT NULL,
    outcome text NOT NULL,
    reason text,
    error text,
    CONSTRAINT attempt_pkey PRIMARY KEY (event_id, handler, epoch),
    CONSTRAINT attempt_outcome_check CHECK (outcome IN ('succeeded', 'retry', 'dead', 'lost'))
);

CREATE TABLE receiver.quarantine (
    id uuid NOT NULL CONSTRAINT quarantine_pkey PRIMARY KEY,
    source text NOT NULL,
    provider text NOT NULL,
    reason text NOT NULL,
    external_id text,
    digest bytea NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    received_at timestamptz DEFAULT now() NOT NULL,
    deliveries integer DEFAULT 1 NOT NULL,
    CONSTRAINT quarantine_source_digest_key UNIQUE (source, digest)
);
"""


def upgrade() -> None:
    for statement in UP.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    # The schema stays: alembic's own version table lives in it.
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE receiver.{table}")
