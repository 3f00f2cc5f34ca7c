"""A request's frame: its id, its size limit, its log line, its metrics, and the answer to a bug."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
import time
from dataclasses import dataclass, replace

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.context import Context
from serving.api.elevenlabs import PREFIX
from serving.api.errors import domain_error, unexpected_error
from serving.engines.pronunciation import MOST_OF_REQUEST, MOST_OF_VOICE
from serving.errors import BodyTimeout, InvalidRequest, PayloadTooLarge, TryLater, Unavailable
from serving.logs import request_id
from serving.metrics import REQUEST_SECONDS, REQUESTS
from serving.settings_groups import LimitSettings
from serving.voices import archive_bytes

logger = logging.getLogger(__name__)

SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
DIGITS = re.compile(r"[0-9]+")
OVERHEAD_BYTES = 64 * 1024
"""What a body may hold beside its file or text."""

CHAR_BYTES = 12
"""The longest that JSON can write a character: an escaped surrogate pair."""

ENTRY_CHARS = 400
"""The longest entry of a dictionary: its word, what is spoken, and what is around them."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that metrics name: a client's inventions would each be a time series for ever."""

CLIENT_CLOSED = 499
"""The status, by nginx's convention, of a request whose client left."""

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Routes that probes call all day: measured, not logged."""


TURNED_AWAY_S = 1.0
"""Under overload one line in this time, with a count: a line for each refusal would cost more than the refusal."""

KEEPS_WORKING = "x-request-disconnect-disabled"
"""Ray Serve's own header: with it, a client that has left goes on costing a GPU until its text is spoken."""


REFUSED = "kubevoice.refused"
"""Key of a scope: why the request is refused, where that was decided before."""

SPEAKING = ("/v1/audio/speech", "/elevenlabs/v1/text-to-speech/")
"""Where the paths begin whose POST waits for a speech replica."""

OF_A_VOICE = re.compile(r"(/elevenlabs/v1/text-to-speech/)[^/]+(/stream)?")


def speaks(scope: Scope) -> bool:
    """Whether an HTTP request asks for speech."""
    return scope["method"] == "POST" and _path(scope).startswith(SPEAKING)


def route_of(scope: Scope) -> str:
    """The template of the route that took a request; of one for speech also where it was refused before."""
    path = _path(scope)
    if route := scope.get("route"):  # FastAPI's knows nothing of the prefix that its router is under
        prefixed = path.startswith(f"{PREFIX}/") and not route.path.startswith(f"{PREFIX}/")
        return f"{PREFIX}{route.path}" if prefixed else str(route.path)
    if scope["method"] == "POST" and (found := OF_A_VOICE.fullmatch(path)):
        return f"{found[1]}{{voice_id}}{found[2] or ''}"
    return path if scope["method"] == "POST" and path == "/v1/audio/speech" else "unmatched"


def _path(scope: Scope) -> str:
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """The most bytes that a body may have; ``field`` and ``what`` are named when it has more."""

    bytes: int
    field: str
    what: str


def body_limit(path: str, *, form: bool, limits: LimitSettings) -> BodyLimit:
    """What a request to ``path`` may bring."""
    if path == "/v1/conversion-models":
        most = BodyLimit(limits.model_bytes + limits.index_bytes, "file", "form")
    elif path == "/v1/audio/conversions":
        most = BodyLimit(limits.conversion_bytes, "file", "form" if form else "recording")
    elif path.startswith("/elevenlabs/v1/speech-to-speech/"):
        most = BodyLimit(limits.conversion_bytes, "audio", "form")
    elif path == "/v1/audio/voices/import":
        most = BodyLimit(archive_bytes(limits), "file", "form")
    elif path.startswith("/v1/audio/voices/") and path.endswith("/pronunciations"):
        most = BodyLimit(MOST_OF_VOICE * ENTRY_CHARS * CHAR_BYTES, "pronunciations", "body")
    elif path == "/v1/jobs":
        most = BodyLimit(limits.job_bytes, "file" if form else "body", "form" if form else "body")
    elif form and path.startswith("/v1/datasets"):
        most = BodyLimit(limits.dataset_bytes, "files", "form")
    elif form:
        most = BodyLimit(limits.upload_bytes, _recording(path), "form")
    else:
        words = MOST_OF_REQUEST * ENTRY_CHARS if path == "/v1/audio/speech" else 0
        most = BodyLimit((limits.input_chars + words) * CHAR_BYTES, _text(path), "body")
    return replace(most, bytes=most.bytes + OVERHEAD_BYTES)


def _recording(path: str) -> str:
    """The file of a form that makes a voice."""
    if path.startswith("/elevenlabs/"):
        return "files"
    return "recording" if path == "/v1/audio/voice_consents" else "audio_sample"


def _text(path: str) -> str:
    """What is long in a JSON body."""
    if path.startswith("/elevenlabs/v1/text-to-speech/"):
        return "text"
    return "input" if path == "/v1/audio/speech" else "body"


class RequestLog:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self.app = app
        self.context = context
        self._turned_away, self._told_at = 0, -math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        token = request_id.set(given if SAFE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}")
        exchange = _Exchange(scope, receive, send, self.context.settings.limits)
        self.context.in_progress += 1
        try:
            await self._answer(exchange)
        finally:
            self.context.in_progress -= 1
            self._record(exchange)
            request_id.reset(token)

    async def _answer(self, exchange: _Exchange) -> None:
        request = Request(exchange.scope)
        try:
            if self.context.draining and exchange.scope["path"] not in ("/healthz", "/metrics"):
                raise Unavailable("this server is stopping; try again")
            if KEEPS_WORKING in request.headers:
                raise InvalidRequest(f"the header {KEEPS_WORKING} is not allowed; leave it out", KEEPS_WORKING)
            if refused := exchange.scope.get(REFUSED) or (speaks(exchange.scope) and self.context.engine.refusal()):
                exchange.turned_away = True
                raise refused  # before the key is looked up and the body is read: refusing must cost nothing
            exchange.check_declared_size()
            await self.app(exchange.scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            exchange.left = True
            raise
        except ClientDisconnect:
            exchange.left = True
        except (BodyTimeout, InvalidRequest, PayloadTooLarge, TryLater) as error:
            if exchange.started:
                raise
            response = await domain_error(request, error)
            await response(exchange.scope, exchange.receive, exchange.send)
        except Exception as error:  # the last line of defence: a bug becomes a plain 500
            if exchange.started:
                raise  # too late for a status: the server cuts the connection
            response = await unexpected_error(request, error)
            await response(exchange.scope, exchange.receive, exchange.send)

    def _record(self, exchange: _Exchange) -> None:
        route = route_of(exchange.scope)
        method = exchange.scope["method"]
        label = method if method in METHODS else "other"
        status = CLIENT_CLOSED if exchange.left else exchange.status
        seconds = time.perf_counter() - exchange.began
        self.context.metrics.add(REQUESTS, method=label, route=route, status=str(status))
        self.context.metrics.observe(REQUEST_SECONDS, seconds, method=label, route=route)
        if exchange.turned_away:
            self._turned_away += 1
            if time.monotonic() < self._told_at + TURNED_AWAY_S:
                return
            exchange.scope["log_fields"] = {"turned_away": self._turned_away}
            self._turned_away, self._told_at = 0, time.monotonic()
        if route not in QUIET:
            fields = {
                "method": method,
                "path": exchange.scope["path"],
                "status": status,
                "seconds": round(seconds, 4),
                **exchange.scope.get("caller_fields", {}),
                **exchange.scope.get("log_fields", {}),
            }
            logger.info("request", extra={"fields": fields})


class _Exchange:
    """One request and response, observed; ``left``: the client went before the response's end."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: LimitSettings) -> None:
        self.scope = scope
        self.status = 500
        self.started = self.ended = self.left = self.turned_away = False
        self.began = time.perf_counter()
        self._receive = receive
        self._send = send
        self._received = 0
        self._whole = False
        self._patience_s = limits.stalled_client_s
        form = Headers(scope=scope).get("content-type", "").lower().startswith("multipart/")
        self._limit = body_limit(scope["path"], form=form, limits=limits)

    def check_declared_size(self) -> None:
        declared = Headers(scope=self.scope).get("content-length", "")
        if DIGITS.fullmatch(declared) and (len(declared) > 18 or int(declared) > self._limit.bytes):
            raise self._too_large()

    async def receive(self) -> Message:
        try:
            async with asyncio.timeout(None if self._whole else self._patience_s):
                message = await self._receive()
        except TimeoutError:
            raise BodyTimeout(f"nothing of the body came for {self._patience_s:g} s; send it again") from None
        self._whole = not message.get("more_body", False)
        if message["type"] == "http.disconnect" and not self.ended:
            self.left = True
        self._received += len(message.get("body", b""))
        if self._received > self._limit.bytes:
            raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = request_id.get() or ""
            headers.update(self.scope.get("quota_headers", {}))
        elif not message.get("more_body", False):
            self.ended = True
        await self._send(message)

    def _too_large(self) -> PayloadTooLarge:
        field, what, most = self._limit.field, self._limit.what, self._limit.bytes
        return PayloadTooLarge(f"{field}: the {what} is larger than the {most:,} bytes this server takes", field)
