"""What the OpenAPI document says about keys is what the guard does."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.settings import Settings
from serving.store.api_keys import SCOPES
from serving.store.voices import VoiceStore
from tests.serving.api.guarded import bearer, new_key, scripted_app


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def needs(operation: dict[str, Any]) -> set[str]:
    """The scopes of which one is needed; none for an open route, all where any key will do."""
    found: set[str] = set()
    for requirement in operation["security"]:
        ((_, scopes),) = requirement.items()
        found |= set(scopes or SCOPES)
    return found


def test_every_operation_says_what_it_needs(store: VoiceStore, settings: Settings) -> None:
    document = scripted_app(store, settings).openapi()
    schemes = document["components"]["securitySchemes"]
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")
    assert (schemes["xi-api-key"]["in"], schemes["xi-api-key"]["name"]) == ("header", "xi-api-key")
    said = {operation["operationId"]: operation for _, _, operation in operations(document)}
    for name in ("healthz", "readyz", "metrics"):
        assert said[name]["security"] == []
        assert "401" not in said[name]["responses"]
    assert said["create_speech"]["security"] == [{"bearer": ["speech"]}, {"xi-api-key": ["speech"]}]
    assert said["list_models"]["security"] == [{"bearer": []}, {"xi-api-key": []}]
    assert needs(said["list_voices"]) == {"speech", "voices"}
    for operation in said.values():
        if operation["security"]:
            assert {"401", "403"} <= set(operation["responses"])
    error = said["elevenlabs_speech"]["responses"]["401"]["content"]["application/json"]["schema"]["$ref"]
    assert error.endswith("/ErrorAnswer")


@pytest.mark.parametrize("scope", SCOPES)
def test_the_guard_does_as_the_document_says(store: VoiceStore, settings: Settings, scope: str) -> None:
    app = scripted_app(store, settings, ttl_s=3600)
    key = bearer(new_key(store, "acme", scope)[1])
    with TestClient(app) as client:
        for method, path, operation in operations(app.openapi()):
            said = needs(operation)
            refused = client.request(method, path, headers=key).status_code == 403
            assert refused == (bool(said) and scope not in said), (method, path)
            assert (client.request(method, path).status_code == 401) == bool(said), (method, path)
