"""What most tests need: a clean environment, settings and a store on ``tmp_path``, and the API without Ray."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from starlette.testclient import TestClient

from serving.api import build_app
from serving.engines.espeak import EspeakEngine
from serving.metrics import LocalMetrics
from serving.settings import PREFIX, SEED_NAMES, Settings
from serving.store.database import SQLITE_FILE, Database
from serving.store.voices import VoiceStore
from serving.store.volume import Volume

# On a busy machine an example may take long, and that is no failure.
hypothesis_settings.register_profile(
    "patient",
    hypothesis_settings.get_profile(hypothesis_settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX) or name in SEED_NAMES:
            monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The defaults, with the data directory in ``tmp_path``."""
    return Settings(data=tmp_path / "data")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with all tables and no rows, to be copied instead of migrated for each test."""
    database = Database.for_volume(None, tmp_path_factory.mktemp("migrated"))
    database.migrate()
    database.close()
    return Path(str(database.url.database))


@pytest.fixture
def data_root(settings: Settings, migrated_file: Path) -> Path:
    """The data directory of ``settings`` as a server makes it, empty."""
    Volume(settings.data).create()
    shutil.copyfile(migrated_file, settings.data / SQLITE_FILE)
    return settings.data


@pytest.fixture
def store(data_root: Path) -> Iterator[VoiceStore]:
    """An empty store of voices in ``data_root``."""
    database = Database.for_volume(None, data_root)
    yield VoiceStore(Volume(data_root), database)
    database.close()


@pytest.fixture(scope="session")
def espeak() -> Iterator[EspeakEngine]:
    """The real engine; it keeps nothing between requests, so one serves all tests of a process."""
    engine = EspeakEngine()
    yield engine
    asyncio.run(engine.close())


@pytest.fixture
def client(espeak: EspeakEngine, store: VoiceStore, settings: Settings) -> Iterator[TestClient]:
    """The whole API in this process, on the espeak engine."""
    with TestClient(build_app(espeak, store, settings, LocalMetrics())) as client:
        yield client
