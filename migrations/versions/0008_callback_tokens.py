"""What each callback token was used for first.

Safe while the version before it is serving, which does not know the table.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

USED = """
CREATE TABLE receiver.callback_token (
    nonce bytea NOT NULL CONSTRAINT callback_token_pkey PRIMARY KEY,
    source text NOT NULL,
    subject bytea NOT NULL,
    event_id uuid NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL
)
"""


def upgrade() -> None:
    op.execute(USED)


def downgrade() -> None:
    op.execute("DROP TABLE receiver.callback_token")
