from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect, make_url, select, text
from sqlalchemy.exc import IntegrityError

from serving.errors import ConfigurationError, StorageError, Unavailable
from serving.store.database import CONNECTION, Database
from serving.store.records import Base, VoiceRow
from tests.serving.store import writers


def make_row(voice_id: str) -> VoiceRow:
    return VoiceRow(
        id=voice_id,
        tenant="acme",
        name=voice_id,
        reference_count=0,
        reference_seconds=1.5,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


def test_migrating_an_empty_database_makes_the_tables_and_may_be_repeated(database_url: str) -> None:
    database = Database(database_url)
    database.migrate()
    with database.session() as session:
        session.add(make_row("voice_1"))
    database.migrate()
    with database.session() as session:
        assert session.scalars(select(VoiceRow.id)).all() == ["voice_1"]
    assert set(inspect(database.engine).get_table_names()) == {"alembic_version", *Base.metadata.tables}
    database.close()


def test_processes_that_migrate_at_once_all_succeed(database_url: str, tmp_path: Path) -> None:
    together = [writers.start(writers.migrate, tmp_path, database_url) for _ in range(3)]
    assert [result["error"] for result in writers.run_together(together)] == [None] * 3


def test_threads_that_migrate_at_once_all_succeed(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def migrate(index: int) -> list[str]:
        database = Database(f"sqlite:///{tmp_path / f'{index % 4}.db'}")
        together.wait()
        try:
            database.migrate()
            return inspect(database.engine).get_table_names()
        finally:
            database.close()

    with ThreadPoolExecutor(8) as pool:
        assert (
            list(map(sorted, pool.map(migrate, range(8)))) == [sorted(["alembic_version", *Base.metadata.tables])] * 8
        )


def test_a_database_of_a_newer_version_is_refused_and_left_alone(database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match=r"newer kubevoice.*9999"):
        database.migrate()
    with database.session() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_a_session_commits_its_work(database: Database) -> None:
    with database.session() as session:
        session.add(make_row("voice_1"))
    with database.session() as session:
        assert session.get(VoiceRow, "voice_1") is not None


def test_a_session_takes_everything_back_on_an_error(database: Database) -> None:
    def add_and_fail() -> None:
        with database.session() as session:
            session.add(make_row("voice_1"))
            session.flush()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        add_and_fail()
    with database.session() as session:
        assert session.get(VoiceRow, "voice_1") is None


def test_a_broken_constraint_is_not_taken_for_a_broken_database(database: Database) -> None:
    with database.session() as session:
        session.add(make_row("voice_1"))
    with pytest.raises(IntegrityError), database.session() as session:
        session.execute(text("UPDATE voices SET tenant = NULL"))


def test_without_a_url_the_records_are_a_wal_file_in_the_data_directory(tmp_path: Path) -> None:
    root = tmp_path / "odd ?#%20 name"
    root.mkdir()
    database = Database.for_volume(None, root)
    database.migrate()
    with database.session() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
    assert (root / "kubevoice.db").is_file()
    database.close()


def test_a_url_wins_over_the_data_directory(database_url: str, tmp_path: Path) -> None:
    database = Database.for_volume(database_url, tmp_path)
    database.migrate()
    assert not (tmp_path / "kubevoice.db").exists()
    database.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_usual_spellings_of_postgresql_use_psycopg(scheme: str) -> None:
    database = Database(f"{scheme}://user:secret@db.example/kubevoice")
    assert database.engine.dialect.driver == "psycopg"
    database.close()


@pytest.mark.parametrize("url", ["", "nonsense-secret", "mysql://u:secret@h/d", "sqlite://", "sqlite:///:memory:"])
def test_a_url_of_another_kind_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Database(url)
    assert caught.value.param == "database.url"
    assert "secret" not in str(caught.value)


def test_a_database_that_is_away_is_unavailable_and_the_message_keeps_the_password(tmp_path: Path) -> None:
    database = Database(f"postgresql://user:secret@/kubevoice?host={tmp_path}")

    def ask() -> None:
        with database.session() as session:
            session.execute(text("SELECT 1"))

    for use in (database.migrate, ask):
        with pytest.raises(Unavailable) as caught:
            use()
        assert "secret" not in str(caught.value)
    database.close()


@pytest.mark.parametrize("given", [{}, {"keepalives_idle": "60", "tcp_user_timeout": "5000"}])
def test_connections_notice_a_server_that_is_gone_and_the_url_says_how_soon(
    given: dict[str, str], postgres_url: str
) -> None:
    database = Database(make_url(postgres_url).update_query_dict(given))
    with database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        used = driver.info.get_parameters()
    assert {name: used[name] for name in CONNECTION} == {name: str(value) for name, value in CONNECTION.items()} | given
    database.close()


def test_a_dropped_connection_is_replaced(postgres_url: str) -> None:
    database = Database(postgres_url)
    other = Database(postgres_url)
    with database.session() as session:
        backend = session.scalar(text("SELECT pg_backend_pid()"))
    with other.session() as session:
        assert session.scalar(text(f"SELECT pg_terminate_backend({backend}, 5000)"))
    with database.session() as session:
        assert session.scalar(text("SELECT pg_backend_pid()")) != backend
    database.close()
    other.close()


@pytest.mark.parametrize("content", [None, b"this is not a database, whatever its name says" * 100])
def test_a_sqlite_file_that_cannot_be_used_is_a_storage_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "records.db"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StorageError, match=r"records\.db"):
        database.migrate()
    database.close()


def test_a_damaged_sqlite_file_is_a_storage_error(tmp_path: Path) -> None:
    whole = Database.for_volume(None, tmp_path)
    whole.migrate()
    whole.close()
    with (tmp_path / "kubevoice.db").open("r+b") as file:
        file.seek(0)
        file.write(b"X" * 8192)
    database = Database.for_volume(None, tmp_path)
    with pytest.raises(StorageError, match="not a database"), database.session() as session:
        session.execute(select(VoiceRow))
    database.close()


def test_reading_does_not_wait_for_a_writer(database: Database) -> None:
    with database.session() as session:
        session.add(make_row("voice_1"))

    def read() -> list[str]:
        with database.reading() as reader:
            return list(reader.scalars(select(VoiceRow.id)))

    with ThreadPoolExecutor(1) as pool, database.session() as session:
        session.add(make_row("voice_2"))
        session.flush()
        assert pool.submit(read).result(timeout=10) == ["voice_1"]  # a reader that waits does so for 15 s
    assert sorted(read()) == ["voice_1", "voice_2"]


def test_a_failed_read_is_typed(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'records.db'}")
    with pytest.raises(StorageError), database.reading() as session:
        session.execute(text("SELECT 1"))
    database.close()


def test_sqlite_transactions_that_read_and_then_write_wait_for_each_other(tmp_path: Path) -> None:
    database = Database.for_volume(None, tmp_path)
    database.migrate()
    with database.session() as session:
        session.add(make_row("voice_1"))

    def count_up(_: int) -> None:
        with database.session() as session:
            session.get_one(VoiceRow, "voice_1").reference_count += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count_up, range(40)))
    with database.session() as session:
        assert session.get_one(VoiceRow, "voice_1").reference_count == 40
    database.close()
