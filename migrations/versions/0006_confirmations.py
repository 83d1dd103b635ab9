"""What providers said when they were asked whether an event is so, and keys of what must happen once.

Safe while the version before it is serving, which knows neither table.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CONFIRMATION = """
CREATE TABLE receiver.confirmation (
    event_id uuid NOT NULL CONSTRAINT confirmation_pkey PRIMARY KEY,
    outcome text NOT NULL,
    token uuid NOT NULL,
    asked integer NOT NULL,
    since timestamptz DEFAULT now() NOT NULL,
    until timestamptz,
    at timestamptz DEFAULT now() NOT NULL,
    reason text,
    once text,
    data json,
    CONSTRAINT confirmation_outcome_check CHECK (outcome IN ('asking', 'waiting', 'confirmed', 'refused'))
)
"""

ONCE_KEY = """
CREATE TABLE receiver.once_key (
    key bytea NOT NULL CONSTRAINT once_key_pkey PRIMARY KEY,
    scope text NOT NULL,
    event_id uuid,
    created_at timestamptz DEFAULT now() NOT NULL
)
"""


def upgrade() -> None:
    op.execute(CONFIRMATION)
    op.execute(ONCE_KEY)


def downgrade() -> None:
    op.execute("DROP TABLE receiver.once_key")
    op.execute("DROP TABLE receiver.confirmation")
