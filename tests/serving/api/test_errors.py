"""The one shape of errors."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "code"),
    [
        ("GET", "/", 404, "not_found_error", "not_found"),
        ("GET", "/v1/audio/speech", 405, "invalid_request_error", "method_not_allowed"),
        ("PUT", "/v1/audio/voices", 405, "invalid_request_error", "method_not_allowed"),
        ("PATCH", "/v1/audio/voices/x", 405, "invalid_request_error", "method_not_allowed"),
        ("POST", "/healthz", 405, "invalid_request_error", "method_not_allowed"),
        ("BREW", "/v1/models", 405, "invalid_request_error", "method_not_allowed"),
        ("POST", "/v1/audio/speech", 400, "invalid_request_error", "invalid_body"),
        ("GET", "/v1/models/x", 404, "not_found_error", "model_not_found"),
        ("GET", "/v1/audio/voices/x", 404, "not_found_error", "voice_not_found"),
        ("DELETE", "/v1/audio/voices/x", 404, "not_found_error", "voice_not_found"),
        ("GET", "/%01%2e%2e%ff%00", 404, "not_found_error", "not_found"),
        ("GET", "/" + "x" * 5000, 404, "not_found_error", "not_found"),
    ],
)
def test_every_error_is_openais_object_with_a_request_id(
    client: TestClient, method: str, path: str, status: int, kind: str, code: str
) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (kind, code)
    assert 0 < len(error["message"]) < 300


def test_a_wrong_method_says_which_are_allowed(client: TestClient) -> None:
    assert client.put("/v1/models").headers["allow"] == "GET"
