"""One code path for SQLite (embedded) and PostgreSQL: engine, sessions, migrations."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import alembic.command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, make_url, select, text
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from serving.errors import ConfigurationError, KubevoiceError, StorageError, Unavailable
from serving.files import refusing

SQLITE_FILE = "kubevoice.db"
BUSY_TIMEOUT_S = 15
CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Of libpq (in seconds, the last in ms), where the URL has none: a server whose node is gone does not answer, nor end
the connection, and without them a query waits for a quarter of an hour or more.
"""

MIGRATION_LOCK = 0x6B756265766F6963
"""Key of the PostgreSQL advisory lock: "kubevoic" as a 64-bit integer."""

READING = "kubevoice_reading"
"""Execution option of connections that only read."""

MIGRATIONS = Path(__file__).parent / "migrations"

FAULTS = (OperationalError, InternalError, InterfaceError, PoolTimeoutError, sqlite3.Error)
"""What a database that is away, full or read-only raises; everything else is a bug or a constraint."""

log = logging.getLogger(__name__)
_alembic = threading.Lock()  # alembic keeps the running migration in module globals: one per process at a time


class Database:
    """Sessions on one database.

    ``url`` is ``postgresql://user:password@host/name`` or ``sqlite:////path/to/file``; raises ConfigurationError for
    any other.
    """

    def __init__(self, url: str | URL) -> None:
        self.url = _parse(url)
        self.engine = _sqlite_engine(self.url) if self._is_sqlite else _postgresql_engine(self.url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(self.engine.execution_options(**{READING: True}), expire_on_commit=False)

    @classmethod
    def for_volume(cls, url: str | None, root: Path) -> Database:
        """The database at ``url``; without one, the SQLite file in the data directory ``root``."""
        return cls(url or URL.create("sqlite", database=str(root / SQLITE_FILE)))

    @property
    def _is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: committed when the block ends, rolled back on an error.

        Raises Unavailable if PostgreSQL does not answer, StorageError if the SQLite file cannot be used.
        """
        with self._typed_faults(), self._sessions.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Like ``session`` for work that writes nothing: on SQLite it does not wait for a writer."""
        with self._typed_faults(), self._readers.begin() as session:
            yield session

    def has(self, row: type[Any], key: str) -> bool | None:
        """Whether there is a ``row`` with that id; None where the database does not say.

        For who failed to write it: a commit may be done although its answer was lost.
        """
        try:
            with self.reading() as session:
                return session.scalar(select(row.id).where(row.id == key)) is not None
        except (KubevoiceError, SQLAlchemyError):
            return None

    def forget(self, row: type[Any], key: str) -> bool:
        """Delete the ``row`` with that id; whether there was one. Raises like ``session`` where it is still there."""
        try:
            with self.session() as session:
                return session.scalars(delete(row).where(row.id == key).returning(row.id)).one_or_none() is not None
        except KubevoiceError:
            if self.has(row, key) is False:
                return True  # only the answer was lost
            raise

    def migrate(self) -> None:
        """Bring the tables to this version's shape; any number of processes may do it at the same time.

        Raises ConfigurationError if a newer version of kubevoice has migrated the database, else like ``session``.
        """
        lock = self._file_lock() if self._is_sqlite else nullcontext()
        with _alembic, lock, self._typed_faults():
            if self._is_sqlite:
                self._switch_to_wal()
            with self.engine.begin() as connection:
                if not self._is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
                _upgrade(connection)

    def close(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()

    def _switch_to_wal(self) -> None:
        """Readers beside a writer; a property of the file. No transaction may be open, hence the raw connection."""
        connection = self.engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        path = Path(f"{self.url.database}.lock")
        with refusing(path), path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _typed_faults(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            # A damaged SQLite file is the base class itself; its other subclasses are bugs and constraints.
            if not isinstance(error, FAULTS) and type(error) is not DatabaseError:
                raise
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> KubevoiceError:
        reason = getattr(error, "orig", error)  # without the statement and its parameters: they are people's data
        log.warning("the database failed: %s", reason)
        if self._is_sqlite:
            return StorageError(f"cannot use {self.url.database}: {reason}; check its volume and permissions")
        return Unavailable("the database does not answer; check that it runs and that database.url is right")


def _parse(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _bad_url("it is no URL") from None  # the cause would show the password
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise _bad_url(f"{parsed.drivername} is not supported")
    if parsed.drivername == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise _bad_url("SQLite needs a file")
    return parsed


def _bad_url(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"database.url cannot be used: {reason}; give postgresql://user:password@host/name, or nothing for SQLite",
        param="database.url",
    )


def _sqlite_engine(url: URL) -> Engine:
    # isolation_level None: sqlite3 begins no transactions of its own, so that ours cover DDL and savepoints too.
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once if another wrote between; this one waits.
        reading = connection.get_execution_options().get(READING, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: URL) -> Engine:
    missing = {name: value for name, value in CONNECTION.items() if name not in url.query}
    return create_engine(url, pool_pre_ping=True, connect_args=missing)


def _upgrade(connection: Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        alembic.command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigurationError(
            f"the database was made by a newer kubevoice ({error}); run that version or restore a backup",
            param="database.url",
        ) from error
