"""What is known of how good the recordings of a voice are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("voices", sa.Column("quality", sa.JSON))


def downgrade() -> None:
    op.drop_column("voices", "quality")
