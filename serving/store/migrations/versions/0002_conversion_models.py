"""The conversion models table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "conversion_models",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("revision", sa.String(64), nullable=False),
        sa.Column("version", sa.String(8), nullable=False),
        sa.Column("sample_rate", sa.Integer, nullable=False),
        sa.Column("f0", sa.Boolean, nullable=False),
        sa.Column("speakers", sa.Integer, nullable=False),
        sa.Column("index_vectors", sa.Integer, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("notes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversion_models"),
        sa.UniqueConstraint("tenant", "name", name="uq_conversion_models_tenant_name"),
    )


def downgrade() -> None:
    op.drop_table("conversion_models")
