"""A request's frame: its id, its size limit, its log line, its metrics, and the answer to a bug."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.context import Context
from serving.api.errors import refusal, unexpected_error
from serving.errors import PayloadTooLarge
from serving.logs import request_id
from serving.metrics import REQUEST_SECONDS, REQUESTS

logger = logging.getLogger(__name__)

SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
FORM_OVERHEAD_BYTES = 64 * 1024
"""What a multipart body may hold beside the file."""

CLIENT_CLOSED = 499
"""The status, by nginx's convention, of a request whose client left."""

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Routes that probes call all day: measured, not logged."""


class RequestLog:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self.app = app
        self.context = context
        self.limit = context.settings.limits.upload_bytes + FORM_OVERHEAD_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        token = request_id.set(given if SAFE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}")
        exchange = _Exchange(scope, receive, send, self.limit)
        try:
            await self._answer(exchange)
        finally:
            self._record(exchange)
            request_id.reset(token)

    async def _answer(self, exchange: _Exchange) -> None:
        request = Request(exchange.scope)
        try:
            exchange.check_declared_size()
            await self.app(exchange.scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            exchange.status = CLIENT_CLOSED
            raise
        except PayloadTooLarge as error:
            response = refusal(request, error.status, error.message, error.param, error.code)
            await response(exchange.scope, exchange.receive, exchange.send)
        except Exception as error:  # the last line of defence: a bug becomes a plain 500
            if exchange.started:
                raise  # too late for a status: the server cuts the connection
            response = await unexpected_error(request, error)
            await response(exchange.scope, exchange.receive, exchange.send)

    def _record(self, exchange: _Exchange) -> None:
        route = getattr(exchange.scope.get("route"), "path", "unmatched")
        method = exchange.scope["method"]
        seconds = time.perf_counter() - exchange.began
        self.context.metrics.add(REQUESTS, method=method, route=route, status=str(exchange.status))
        self.context.metrics.observe(REQUEST_SECONDS, seconds, method=method, route=route)
        if route not in QUIET:
            fields = {
                "method": method,
                "path": exchange.scope["path"],
                "status": exchange.status,
                "seconds": round(seconds, 4),
                **exchange.scope.get("log_fields", {}),
            }
            logger.info("request", extra={"fields": fields})


class _Exchange:
    """One request and response, observed."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self.scope = scope
        self.status = 500
        self.started = False
        self.began = time.perf_counter()
        self._receive = receive
        self._send = send
        self._limit = limit
        self._received = 0

    def check_declared_size(self) -> None:
        declared = Headers(scope=self.scope).get("content-length", "0")
        if declared.isdigit() and int(declared) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-ID"] = request_id.get() or ""
        await self._send(message)

    def _too_large(self) -> PayloadTooLarge:
        form = Headers(scope=self.scope).get("content-type", "").startswith("multipart/")
        field = "audio_sample" if form else "input"
        return PayloadTooLarge(f"{field}: the body is larger than the {self._limit:,} bytes this server takes", field)
