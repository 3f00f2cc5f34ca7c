"""A client of the whole API with a launcher, and what tests of training do with it again and again."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from serving.api import build_app
from serving.errors import KubevoiceError
from serving.launch import RunLauncher
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.scripted import ScriptedSpeech

WAIT_S = 60.0
DATASETS, RUNS = "/v1/datasets", "/v1/training/runs"
CONSENT = "Ada Example agreed on 2026-01-01 that a model of her voice is made."
WAV = ("files", ("a.wav", b"RIFFa", "audio/wav"))
TEXT = ("files", ("metadata.csv", b"a|Hello.\n", "text/csv"))


def client_of(store: VoiceStore, settings: Settings, launcher: RunLauncher | KubevoiceError) -> TestClient:
    return TestClient(build_app(ScriptedSpeech(), store, settings, LocalMetrics(), launcher=launcher))


def add_weights(settings: Settings, revision: str = "r1", name: str = "xtts_v2") -> Path:
    """A revision of an XTTS model, as far as the API looks at one."""
    directory = settings.data / "models" / "xtts" / name / revision
    directory.mkdir(parents=True)
    return directory


def upload(client: TestClient, files: Any = (WAV, TEXT), **fields: Any) -> Any:
    form = {"name": "Ada", "language": "en", "consent": CONSENT, **fields}
    return client.post(
        DATASETS, data={key: value for key, value in form.items() if value is not None}, files=list(files)
    )


def until_ended(client: TestClient, path: str) -> dict[str, Any]:
    """What is at ``path`` once it has come to its end."""
    deadline = time.monotonic() + WAIT_S
    while True:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        card: dict[str, Any] = answer.json()
        if card["state"] not in ("queued", "suspended", "running"):
            return card
        assert time.monotonic() < deadline, card
        time.sleep(0.02)


def until_said(client: TestClient, path: str) -> dict[str, Any]:
    """What is at ``path`` once its trainer has said something."""
    deadline = time.monotonic() + WAIT_S
    while True:
        card: dict[str, Any] = client.get(path).json()
        if card["progress"] is not None and card["state"] == "running":
            return card
        assert time.monotonic() < deadline, card
        time.sleep(0.02)


def ready_dataset(client: TestClient, **fields: Any) -> dict[str, Any]:
    card = upload(client, **fields).json()
    ended = until_ended(client, f"{DATASETS}/{card['id']}")
    assert ended["state"] == "succeeded", ended
    return ended


def start(client: TestClient, dataset: str = "Ada", *, epochs: int = 1, key: str | None = None, **fields: Any) -> Any:
    body = {"dataset": dataset, "settings": {"epochs": epochs}, **fields}
    return client.post(RUNS, json=body, headers={} if key is None else {"Idempotency-Key": key})


def zipped(**files: bytes) -> bytes:
    """A zip of these names and contents."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()
