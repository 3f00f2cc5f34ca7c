"""Alembic's entry point: migrate over the connection, already in a transaction, that ``Database.migrate`` hands in."""

from __future__ import annotations

from alembic import context

from serving.store.records import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
