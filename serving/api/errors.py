"""Every error as JSON: OpenAI's ``{"error": {"message", "type", "param", "code"}}``, and below ``/elevenlabs`` that
API's ``{"detail": ...}``. The one place that maps them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from serving.api.context import Context
from serving.api.elevenlabs.errors import detail, invalid, is_elevenlabs
from serving.errors import BodyTimeout, KubevoiceError, PayloadTooLarge, TryLater, Unauthenticated, fault
from serving.metrics import REFUSALS

logger = logging.getLogger(__name__)

TYPES = {404: "not_found_error", 429: "rate_limit_error"}
CODES = {400: "invalid_body", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}

INTERNAL_ERROR = "the server failed on this request; its log has the cause"

ECHO_CHARS = 100
"""How much of a client's own words an error repeats."""


class StreamBrokenError(Exception):
    """Ends a response that has begun: the server cuts the connection. Whoever raises it has logged why."""


def error_body(status: int, message: str, param: str | None, code: str) -> dict[str, Any]:
    """OpenAI's error object; ``type`` follows from the status."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def add_error_handlers(app: FastAPI) -> None:
    """Register the handlers below on ``app``."""
    app.add_exception_handler(KubevoiceError, domain_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, unexpected_error)


def refusal(
    request: Request, status: int, message: str, param: str | None, code: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error response that is counted by its code."""
    context: Context = request.app.state.context
    context.metrics.add(REFUSALS, reason=code)
    if is_elevenlabs(request.scope["path"]):
        return JSONResponse(detail(message, param, code), status, dict(headers or {}))
    return JSONResponse(error_body(status, message, param, code), status, dict(headers or {}))


async def domain_error(request: Request, error: Exception) -> JSONResponse:
    """One of our own errors, with its status and, where it says when to come back, ``Retry-After``."""
    assert isinstance(error, KubevoiceError)
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TryLater):
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status >= 500:
        logger.error("request failed: %s", error.message, exc_info=error.status == 500)
    return refusal(request, error.status, error.message, error.param, error.code, headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if is_elevenlabs(request.scope["path"]):
        context: Context = request.app.state.context
        context.metrics.add(REFUSALS, reason="invalid_value")
        return JSONResponse(invalid(error.errors()), 422)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return refusal(request, 400, f"the body is not JSON: {first['ctx']['error']}", None, "invalid_json")
    file = "UploadFile" in first["msg"]
    path = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    if file and path[-1].isdigit():
        path.pop()  # one of several files of the same name
    param = ".".join(path)[:ECHO_CHARS] or None
    if param is None:
        message = f"the body is not usable: {fault(first)}"
        if first["type"] != "value_error":  # a validator of ours read an object, and says what to do
            message += "; send an object with Content-Type: application/json"
        return refusal(request, 400, message, None, "invalid_body")
    reason = "send it as a file, with a file name" if file else fault(first)
    code = {"missing": "missing_field", "extra_forbidden": "unknown_field"}.get(first["type"], "invalid_value")
    return refusal(request, 400, f"{param}: {reason}", param, code)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, PayloadTooLarge | BodyTimeout | ClientDisconnect):
        raise error.__cause__  # FastAPI takes what the middleware raises while it reads the body for a bad body
    code = CODES.get(error.status_code, "http_error")
    message = f"{request.method} {request.scope['path']}"[:ECHO_CHARS] + f": {error.detail}"
    return refusal(request, error.status_code, message, None, code, error.headers)


async def unexpected_error(request: Request, error: Exception) -> JSONResponse:
    """A bug: logged with its trace, answered without one."""
    if isinstance(error, StreamBrokenError):
        return JSONResponse(None, 500)  # never sent: the response has begun
    logger.error("unexpected error", exc_info=error)
    return refusal(request, 500, INTERNAL_ERROR, None, "internal_error")
