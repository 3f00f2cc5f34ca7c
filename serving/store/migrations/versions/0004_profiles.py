"""The tables of speech profiles and of each tenant's default."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "profiles",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("manner", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_profiles"),
        sa.UniqueConstraint("tenant", "name", name="uq_profiles_tenant_name"),
    )
    op.create_table(
        "profile_defaults",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("profile_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_profile_defaults"),
    )


def downgrade() -> None:
    op.drop_table("profile_defaults")
    op.drop_table("profiles")
