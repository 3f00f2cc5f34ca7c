"""Webhooks of jobs, and the table of messages to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("webhook_url", sa.Text))
    op.add_column("jobs", sa.Column("webhook_secret", sa.String(128)))
    op.create_table(
        "webhook_messages",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_messages"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_webhook_messages_job_id_jobs", ondelete="CASCADE"),
    )
    op.create_index("ix_webhook_messages_state_due_at", "webhook_messages", ["state", "due_at"])
    op.create_index("ix_webhook_messages_job_id", "webhook_messages", ["job_id"])


def downgrade() -> None:
    op.drop_table("webhook_messages")
    op.drop_column("jobs", "webhook_secret")
    op.drop_column("jobs", "webhook_url")
