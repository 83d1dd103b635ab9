"""What vouches for an event, and which key did.

Safe while the version before it is serving: what that stores is taken for signed, which all of it is that its four
providers verify; a source without verification says so in the settings alone, as it did before.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A constant default rewrites no row.
    op.execute("ALTER TABLE receiver.event ADD COLUMN trust text DEFAULT 'signed' NOT NULL, ADD COLUMN secret text")


def downgrade() -> None:
    op.execute("ALTER TABLE receiver.event DROP COLUMN trust, DROP COLUMN secret")
