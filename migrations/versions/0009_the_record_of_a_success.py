"""The record of the run that succeeded stands in its dispatch; `every_attempt` has each run.

Safe while the version before it is serving: that writes a row of `attempt` for each success and leaves the new columns
null, which the view takes for what it is. Its command line and its pages do not show the successes of this version.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without a default no row is rewritten.
    op.execute("ALTER TABLE receiver.dispatch ADD COLUMN started_at timestamptz, ADD COLUMN finished_at timestamptz")
    op.execute(
        """
        CREATE VIEW receiver.every_attempt AS
        SELECT event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome, reason, error
        FROM receiver.attempt
        UNION ALL
        SELECT event_id, handler, epoch, attempts, trigger, worker, started_at, coalesce(finished_at, started_at),
               'succeeded', reason, NULL
        FROM receiver.dispatch WHERE state = 'succeeded' AND started_at IS NOT NULL
        """
    )


def downgrade() -> None:
    op.execute("DROP VIEW receiver.every_attempt")
    op.execute(
        """
        INSERT INTO receiver.attempt
            (event_id, handler, epoch, number, trigger, worker, started_at, finished_at, outcome, reason)
        SELECT event_id, handler, epoch, attempts, trigger, worker, started_at, coalesce(finished_at, started_at),
               'succeeded', reason
        FROM receiver.dispatch WHERE state = 'succeeded' AND started_at IS NOT NULL
        """
    )
    op.execute("ALTER TABLE receiver.dispatch DROP COLUMN started_at, DROP COLUMN finished_at")
