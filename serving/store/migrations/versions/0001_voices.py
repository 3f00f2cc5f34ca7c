"""The voices table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "voices",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("language", sa.String(35)),
        sa.Column("description", sa.Text),
        sa.Column("consent", sa.Text),
        sa.Column("reference_count", sa.Integer, nullable=False),
        sa.Column("reference_seconds", sa.Double, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_voices"),
        sa.UniqueConstraint("tenant", "name", name="uq_voices_tenant_name"),
    )


def downgrade() -> None:
    op.drop_table("voices")
