"""Workers: who runs handlers, and which of them are closed off at the moment.

Safe while the version before it is serving: it does not know the table.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# A row is written anew every few seconds: room on its page keeps that from touching the index.
UP = """
CREATE TABLE receiver.worker (
    name text NOT NULL CONSTRAINT worker_pkey PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz DEFAULT now() NOT NULL,
    state text NOT NULL,
    concurrency integer NOT NULL,
    running integer NOT NULL,
    handlers text[] NOT NULL,
    circuits jsonb NOT NULL,
    CONSTRAINT worker_state_check CHECK (state IN ('running', 'draining', 'stopped'))
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE receiver.worker")
