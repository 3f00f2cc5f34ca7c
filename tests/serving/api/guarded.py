"""An application with keys, on which two tenants meet; and a request of one tenant about what the other has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.api import build_app
from serving.launch import RunLauncher
from serving.metrics import LocalMetrics
from serving.settings import Settings
from serving.store.api_keys import SCOPES, ApiKey, ApiKeyStore
from serving.store.voices import VoiceStore
from tests.serving.api.scripted import ScriptedSpeech, chunk
from tests.serving.api.scripted_converter import ScriptedConverter


def keys_of(store: VoiceStore) -> ApiKeyStore:
    return ApiKeyStore(store.database, store.volume.root)


def new_key(store: VoiceStore, tenant: str = "acme", *scopes: str) -> tuple[ApiKey, str]:
    """A key, by default with all scopes, and its text."""
    return keys_of(store).create(tenant, "a key", scopes or SCOPES)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def scripted_app(
    store: VoiceStore, settings: Settings, launcher: RunLauncher | None = None, ttl_s: float = 0.0
) -> FastAPI:
    """Everything is served; keys are asked for anew after ``ttl_s``."""
    speech, converter = ScriptedSpeech(chunk(0.2)), ScriptedConverter()
    options: dict[str, Any] = {} if launcher is None else {"launcher": launcher}
    return build_app(speech, store, settings, LocalMetrics(), converter, keys_ttl_s=ttl_s, **options)


@dataclass(frozen=True)
class Probe:
    """One request to an operation.

    ``{voice}``, ``{model}``, ``{profile}``, ``{dataset}``, ``{run}``, ``{key}``,
    ``{job}`` and ``{consent}`` stand for what the other
    tenant has.
    """

    path: str = ""
    json: Any = None
    data: Any = None
    files: Any = None

    def send(self, client: TestClient, method: str, path: str, names: dict[str, str]) -> Any:
        def filled(value: Any) -> Any:
            if isinstance(value, str):
                for name, text in names.items():
                    value = value.replace(f"{{{name}}}", text)
                return value
            if isinstance(value, dict):
                return {name: filled(each) for name, each in value.items()}
            return [filled(each) for each in value] if isinstance(value, list) else value

        url = filled(self.path or path)
        return client.request(method, url, json=filled(self.json), data=filled(self.data), files=self.files)
