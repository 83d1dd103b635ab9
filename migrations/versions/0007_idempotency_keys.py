"""Keys that clients make for their requests, and the first response to each.

Safe while the version before it is serving, which does not know the table.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

IDEMPOTENCY_KEY = """
CREATE TABLE receiver.idempotency_key (
    key bytea NOT NULL CONSTRAINT idempotency_key_pkey PRIMARY KEY,
    scope text NOT NULL,
    fingerprint bytea NOT NULL,
    owner uuid NOT NULL,
    leased_until timestamptz NOT NULL,
    status smallint,
    headers text,
    body bytea,
    created_at timestamptz DEFAULT now() NOT NULL,
    expires_at timestamptz NOT NULL
)
"""
EXPIRY = "CREATE INDEX idempotency_key_expires_at_idx ON receiver.idempotency_key (expires_at)"


def upgrade() -> None:
    op.execute(IDEMPOTENCY_KEY)
    op.execute(EXPIRY)


def downgrade() -> None:
    op.execute("DROP TABLE receiver.idempotency_key")
