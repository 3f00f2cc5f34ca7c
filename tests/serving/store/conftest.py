"""Every test that asks for ``database_url`` or ``database`` runs twice: on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from serving.store.database import Database
from serving.store.job_queue import JobQueue
from serving.store.jobs import JobStore
from serving.store.volume import Volume
from tests.serving.store.postgres import empty_database, temporary_postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """A server on which databases can be made: the one of TEST_POSTGRES_URL, else a temporary one."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg")
    else:
        with temporary_postgres() as url:
            yield url


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """The URL of an empty PostgreSQL database that no other test sees."""
    with empty_database(postgres_server) as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database that no other test sees."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def migrated_database(postgres_server: URL) -> Iterator[str]:
    """The name of a PostgreSQL database with all tables and no rows, to be copied."""
    with empty_database(postgres_server) as url:
        database = Database(url)
        database.migrate()
        database.close()
        yield str(url.database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database that no other test sees."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = URL.create("sqlite", database=str(tmp_path / "records.db"))
            shutil.copyfile(request.getfixturevalue("migrated_file"), str(url.database))
        else:
            template = request.getfixturevalue("migrated_database")
            url = stack.enter_context(empty_database(request.getfixturevalue("postgres_server"), template))
        database = Database(url)
        stack.callback(database.close)
        yield database


@pytest.fixture
def jobs(tmp_path: Path, database: Database) -> JobStore:
    volume = Volume(tmp_path / "data")
    volume.create()
    return JobStore(volume, database)


@pytest.fixture
def queue(jobs: JobStore, database: Database) -> JobQueue:
    return JobQueue(jobs.volume, database)
