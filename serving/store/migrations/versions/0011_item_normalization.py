"""How an item of a job is normalised, where it is not as its job says."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("job_items", sa.Column("text_normalization", sa.String(8)))


def downgrade() -> None:
    op.drop_column("job_items", "text_normalization")
