"""The application with a scripted engine and converter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture
def engine() -> ScriptedSpeech:
    return ScriptedSpeech(chunk(0.5), chunk(0.5))


@pytest.fixture
def app(engine: ScriptedSpeech, store: VoiceStore, settings: Settings) -> FastAPI:
    models = ConversionModelStore(store.volume, store.database)

    def fill(directory: Path) -> dict[str, object]:
        (directory / "weights.safetensors").write_bytes(b"weights")
        return {"version": "v2", "sample_rate": 40000, "f0": True, "speakers": 1}

    models.add(tenant="default", name="Ada", fill=fill)
    return build_app(engine, store, settings, LocalMetrics(), ScriptedConverter())


@pytest.fixture
def scripted(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client
