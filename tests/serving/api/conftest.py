"""What tests of several routes share: a launcher of real processes, a dataset that is ready, an app that converts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.api import build_app
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.conversion_models import ConversionModelStore
from serving.store.voices import VoiceStore
from tests.serving.api.scripted import ScriptedSpeech, chunk
from tests.serving.api.scripted_converter import ScriptedConverter
from tests.serving.api.standin import StandIn
from tests.serving.api.training_client import DATASETS, WAIT_S
from tests.serving.training_runs import add_dataset


@pytest.fixture
def launcher(settings: Settings) -> Iterator[StandIn]:
    launcher = StandIn(settings.data / "launch")
    yield launcher
    launcher.stop_all(WAIT_S)


@pytest.fixture
def dataset(client: TestClient, store: VoiceStore) -> dict[str, Any]:
    """A dataset that is ready, seen through the module's own client; how it becomes so is for test_datasets.py."""
    card: dict[str, Any] = client.get(f"{DATASETS}/{add_dataset(store.volume, store.database)}").json()
    return card


@pytest.fixture
def converter() -> ScriptedConverter:
    return ScriptedConverter()


@pytest.fixture
def engine() -> ScriptedSpeech:
    return ScriptedSpeech(*[chunk(1.0)] * 5)


@pytest.fixture
def app(converter: ScriptedConverter, engine: ScriptedSpeech, store: VoiceStore, settings: Settings) -> FastAPI:
    models = ConversionModelStore(store.volume, store.database)

    def fill(directory: Path) -> dict[str, object]:
        (directory / "weights.safetensors").write_bytes(b"weights")
        return {"version": "v2", "sample_rate": 40000, "f0": True, "speakers": 2}

    models.add(tenant="default", name="Ada", fill=fill)
    return build_app(engine, store, settings, LocalMetrics(), converter)
