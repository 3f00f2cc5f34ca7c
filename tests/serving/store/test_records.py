from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError, StatementError

from serving.store.database import Database
from serving.store.records import Base, VoiceRow

NOON_IN_DELHI = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))


def make_row(voice_id: str = "voice_1", name: str = "Nova", created_at: datetime = NOON_IN_DELHI) -> VoiceRow:
    return VoiceRow(
        id=voice_id, tenant="acme", name=name, reference_count=1, reference_seconds=1.5, created_at=created_at
    )


def test_the_models_are_what_the_migrations_make(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_time_comes_back_aware_in_utc_and_to_the_microsecond(database: Database) -> None:
    with database.session() as session:
        session.add(make_row())
    with database.session() as session:
        created_at = session.get_one(VoiceRow, "voice_1").created_at
    assert created_at == NOON_IN_DELHI
    assert created_at.tzinfo is UTC


def test_a_time_without_zone_is_a_bug(database: Database) -> None:
    with pytest.raises(StatementError, match="naive"), database.session() as session:
        session.add(make_row(created_at=datetime(2026, 1, 2)))


def test_a_tenant_has_one_voice_of_a_name(database: Database) -> None:
    with database.session() as session:
        session.add(make_row())
    with pytest.raises(IntegrityError), database.session() as session:
        session.add(make_row("voice_2"))
