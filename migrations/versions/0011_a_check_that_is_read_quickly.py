"""Which states there are is checked in fewer words: PostgreSQL reads them again for each statement that writes a row.

Safe while the version before it is serving: it writes the same states.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

DISPATCH = "ALTER TABLE receiver.dispatch"
DROP_BOTH = "DROP CONSTRAINT IF EXISTS dispatch_state_check, DROP CONSTRAINT IF EXISTS dispatch_trigger_check"


def upgrade() -> None:
    op.execute(
        f"""
        {DISPATCH} {DROP_BOTH},
            ADD CONSTRAINT dispatch_state_check
            CHECK (state = ANY ('{{ready,waiting,leased,succeeded,dead}}'::text[])) NOT VALID
        """
    )
    _validate()


def downgrade() -> None:
    op.execute(
        f"""
        {DISPATCH} {DROP_BOTH},
            ADD CONSTRAINT dispatch_state_check
            CHECK (state IN ('ready', 'waiting', 'leased', 'succeeded', 'dead')) NOT VALID,
            ADD CONSTRAINT dispatch_trigger_check CHECK (trigger IN ('scheduled', 'manual')) NOT VALID
        """
    )
    _validate("dispatch_trigger_check")


def _validate(*more: str) -> None:
    # In transactions of their own: all rows are read, and nobody must wait for that.
    with op.get_context().autocommit_block():
        for name in ("dispatch_state_check", *more):
            op.execute(f"{DISPATCH} VALIDATE CONSTRAINT {name}")
