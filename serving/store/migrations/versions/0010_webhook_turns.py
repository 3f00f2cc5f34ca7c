"""Whose message it is and where it goes, so that neither keeps those of others waiting."""

from __future__ import annotations

from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_jobs = sa.table("jobs", sa.column("id"), sa.column("tenant"), sa.column("webhook_url"))
_messages = sa.table("webhook_messages", sa.column("job_id"), sa.column("tenant"), sa.column("receiver"))


def upgrade() -> None:
    # With defaults: while an upgrade runs, servers of before go on and write rows without these columns.
    op.add_column("webhook_messages", sa.Column("tenant", sa.String(64), nullable=False, server_default=""))
    op.add_column("webhook_messages", sa.Column("receiver", sa.Text, nullable=False, server_default=""))
    op.add_column("webhook_messages", sa.Column("claimed_at", sa.DateTime(timezone=True)))
    _fill()
    op.drop_index("ix_webhook_messages_state_due_at", "webhook_messages")
    op.create_index(
        "ix_webhook_messages_state_tenant_attempts_due_at",
        "webhook_messages",
        ["state", "tenant", "attempts", "due_at"],
    )
    op.create_index("ix_webhook_messages_tenant_claimed_at", "webhook_messages", ["tenant", "claimed_at"])


def _fill() -> None:
    """Messages that wait from before have a tenant and a receiver as well."""
    tenant = sa.select(_jobs.c.tenant).where(_jobs.c.id == _messages.c.job_id).scalar_subquery()
    op.execute(sa.update(_messages).values(tenant=tenant))
    told = sa.select(_messages.c.job_id)
    urls = sa.select(_jobs.c.webhook_url).where(_jobs.c.id.in_(told)).distinct()
    for url in op.get_bind().scalars(urls).all():
        jobs = sa.select(_jobs.c.id).where(_jobs.c.webhook_url == url)
        op.execute(sa.update(_messages).where(_messages.c.job_id.in_(jobs)).values(receiver=_receiver(url)))


def _receiver(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return url
    return f"{host.rstrip('.')}:{port}"


def downgrade() -> None:
    op.drop_index("ix_webhook_messages_tenant_claimed_at", "webhook_messages")
    op.drop_index("ix_webhook_messages_state_tenant_attempts_due_at", "webhook_messages")
    op.create_index("ix_webhook_messages_state_due_at", "webhook_messages", ["state", "due_at"])
    for name in ("claimed_at", "receiver", "tenant"):
        op.drop_column("webhook_messages", name)
