"""Every error kubevoice raises on purpose.

KubevoiceError
├── RequestError            the caller sent something wrong (4xx)
│   ├── InvalidRequest      400  a field has a value that cannot be used
│   ├── Unauthenticated     401  no API key, or one that does not work
│   ├── Forbidden           403  the API key may not do this
│   ├── NotFound            404  a voice or model that does not exist
│   ├── BodyTimeout         408  the client stopped sending its body
│   ├── Conflict            409  the name is taken
│   └── PayloadTooLarge     413  body, text or audio over a limit
├── TryLater                     not now; `retry_after_s` says when
│   ├── Overloaded          429  at capacity: refused before any work
│   │   └── QuotaExceeded   429  the tenant or the key has used up a quota
│   └── Unavailable         503  starting, draining, or the model cannot be used
├── EngineError             500  the engine failed on a valid request
├── ConfigurationError      a setting has a bad name or value (start-up and CLI)
├── ModelFilesError         model files are missing, torn or of the wrong shape
└── StorageError            507  the volume is full, read-only or gone

Constructor arguments are all passed to ``Exception.__init__``, so that the errors survive the pickling between Ray
processes with their attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class KubevoiceError(Exception):
    """Base of all errors below.

    ``message`` is one sentence for the user: what is wrong and what to do about it.
    ``param`` names the request field (or setting) at fault, ``code`` is a stable machine-readable word.
    """

    status = 500
    code = "internal_error"

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param, code)
        self.message = message
        self.param = param
        self.code = code or type(self).code

    def __str__(self) -> str:
        return self.message


class RequestError(KubevoiceError):
    """The caller sent something that cannot be served as it is."""

    status = 400
    code = "invalid_request"


class InvalidRequest(RequestError):
    """A field is missing, malformed or out of range."""

    code = "invalid_value"


class Unauthenticated(RequestError):
    """There is no API key, or it is unknown, expired or revoked."""

    status = 401
    code = "invalid_api_key"


class Forbidden(RequestError):
    """The API key has not the scope that this needs."""

    status = 403
    code = "missing_scope"


class NotFound(RequestError):
    """The named voice, model or route does not exist."""

    status = 404
    code = "not_found"


class BodyTimeout(RequestError):
    """The client stopped sending its body."""

    status = 408
    code = "body_timeout"


class Conflict(RequestError):
    """The object exists already."""

    status = 409
    code = "conflict"


class PayloadTooLarge(RequestError):
    """The body, the text or the audio is larger than the server accepts."""

    status = 413
    code = "payload_too_large"


class TryLater(KubevoiceError):
    """Not now; the same request may succeed ``retry_after_s`` seconds later."""

    status = 503
    code = "try_later"

    def __init__(self, message: str, retry_after_s: int = 2) -> None:
        super().__init__(message)
        self.args = (message, retry_after_s)
        self.retry_after_s = retry_after_s


class Overloaded(TryLater):
    """The server is at capacity and refuses early; the work was not started."""

    status = 429
    code = "overloaded"


class QuotaExceeded(Overloaded):
    """The tenant or the API key has used up a quota."""

    code = "quota_exceeded"


class Unavailable(TryLater):
    """The server is starting, draining, or its model is not usable."""

    code = "unavailable"


class EngineError(KubevoiceError):
    """The engine failed while it worked on a valid request."""

    code = "engine_error"


class ConfigurationError(KubevoiceError):
    """A setting has an unknown name or an unusable value; ``param`` is the setting."""

    code = "bad_configuration"


class ModelFilesError(KubevoiceError):
    """Model files are missing, torn, or do not have the expected keys and shapes."""

    status = 503
    code = "model_files"


class StorageError(KubevoiceError):
    """The volume refused a write: full, read-only or unreachable."""

    status = 507
    code = "storage"


def fault(error: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says, without the name of the exception that a validator of ours raised."""
    message: str = error["msg"]
    return message.removeprefix("Value error, ")
