"""The OpenAPI document, and what it says about keys: by the table that the guard decides by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from serving.api.access import ANY, needed

SCHEMES: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`kv_...`), or a token of the OIDC issuer that the server takes. A server without "
        "keys and issuer asks for nothing.",
    },
    "xi-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "xi-api-key",
        "description": "The same, in ElevenLabs' header.",
    },
}

REFUSALS = {
    "401": "There is no API key or token, or it does not work: `invalid_api_key`, `invalid_token`",
    "403": "The API key or token has not the scope that this needs: `missing_scope`",
}


class DocumentedApi(FastAPI):
    """FastAPI whose document has the needs of every operation."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            document.setdefault("components", {})["securitySchemes"] = SCHEMES
            for path, method, operation in _operations(document):
                _describe(operation, needed(method.upper(), path))
        assert self.openapi_schema is not None
        return self.openapi_schema


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _describe(operation: dict[str, Any], scopes: frozenset[str] | None) -> None:
    """Either header will do, with any one of ``scopes``: OpenAPI has a requirement for each such way in."""
    if scopes is None:
        operation["security"] = []
        return
    asked = [[]] if scopes == ANY else [[scope] for scope in sorted(scopes)]
    operation["security"] = [{scheme: one} for one in asked for scheme in SCHEMES]
    responses = operation["responses"]
    for status, description in REFUSALS.items():
        responses[status] = {**responses["4XX"], "description": description}
