"""API keys and tokens: who may come in, and for which tenant. Outside the routes, so that none can forget it."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from serving.api.access import READS, kind, needed
from serving.api.caller import RECHECK, Caller, current
from serving.api.context import Context
from serving.api.elevenlabs.messages import failure
from serving.api.errors import domain_error
from serving.api.key_cache import TTL_S, KeyCache
from serving.api.oidc import Tokens, is_token
from serving.api.watched import POLICY, WatchedSocket
from serving.errors import Forbidden, KubevoiceError, Unauthenticated
from serving.logs import request_id
from serving.metrics import REFUSALS
from serving.selection import DEFAULT_TENANT
from serving.store.api_keys import SCOPES
from serving.store.audit import Entry

logger = logging.getLogger(__name__)

ROOT = Caller("root", DEFAULT_TENANT, frozenset(SCOPES))
"""Who holds the setting ``auth.root_key``."""


class Guard:
    """ASGI middleware around the routes; keys are asked for anew once they were known for ``ttl_s`` seconds."""

    def __init__(self, app: ASGIApp, context: Context, ttl_s: float = TTL_S) -> None:
        self.app = app
        self.context = context
        self._keys = KeyCache(context.keys, ttl_s)
        root = context.settings.auth.root_key
        self._root = _digest(root.get_secret_value()) if root else None
        oidc = context.settings.oidc
        self._tokens = Tokens(oidc) if oidc.issuer else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            caller = await self._admitted(scope)
        except KubevoiceError as error:
            await self._refuse(scope, receive, send, error)
            return
        if caller is not None:
            scope["caller_fields"] = {"key": caller.key_id, "tenant": caller.tenant}
        if caller is not None and caller is not ROOT:
            scope[RECHECK] = lambda: self._admitted(scope)
        if scope["type"] == "websocket" and RECHECK in scope:
            socket = WatchedSocket(receive, send, scope[RECHECK])
            receive, send = socket.receive, socket.send
        token = current.set(caller)
        try:
            await self.app(scope, receive, send)
        finally:
            current.reset(token)

    async def _admitted(self, scope: Scope) -> Caller | None:
        """Who asks, None where keys are not needed; raises Unauthenticated, Forbidden, and what the database raises."""
        method, path = scope.get("method", "GET"), _route_path(scope)
        scopes = needed(method, path)
        if scopes is None or not await self._is_on():
            return None
        caller = await self._caller(_credential(Headers(scope=scope)))
        if not scopes & caller.scopes:
            if method not in READS:
                await self.context.denials.note(_denied(caller, method, path), kind(method, path))
            raise Forbidden(
                f"{method} {path[:100]} needs a key or token with the scope {' or '.join(sorted(scopes))}; yours has "
                f"{', '.join(sorted(caller.scopes)) or 'none'}"
            )
        return caller

    async def _is_on(self) -> bool:
        enabled = self.context.settings.auth.enabled
        if enabled == "auto":
            return self._root is not None or self._tokens is not None or await self._keys.exist()
        return enabled == "true"

    async def _caller(self, text: str | None) -> Caller:
        if text is None:
            raise Unauthenticated("there is no API key; send one as Authorization: Bearer <key>, or as xi-api-key")
        if self._root is not None and hmac.compare_digest(_digest(text), self._root):
            return ROOT
        if self._tokens is not None and is_token(text):
            return await self._tokens.caller(text)
        key = await self._keys.find(text)
        if key is None:
            raise Unauthenticated("the API key is not known here; check that it is whole")
        if key.state != "active":
            raise Unauthenticated(f"the API key {key.id} is {key.state}; use another")
        return Caller(key.id, key.tenant, key.scopes, key.limits)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: KubevoiceError) -> None:
        if scope["type"] == "http":
            response = await domain_error(Request(scope), error)
            await response(scope, receive, send)
            return
        self.context.metrics.add(REFUSALS, reason=error.code)
        token = request_id.set(f"req_{secrets.token_hex(12)}")
        logger.info("socket refused", extra={"fields": {"path": scope["path"], "code": error.code}})
        socket = WebSocket(scope, receive, send)
        try:
            await socket.accept()  # a handshake that is refused would not tell why
            await socket.send_json(failure(error.message, error.code))
            await socket.close(POLICY, error.code)
        except (WebSocketDisconnect, RuntimeError):
            return  # the client has left meanwhile
        finally:
            request_id.reset(token)


def _denied(caller: Caller, method: str, path: str) -> Entry:
    return Entry(
        caller.tenant, caller.key_id, "access.denied", "denied", None, {"method": method[:20], "path": path[:100]}
    )


def _route_path(scope: Scope) -> str:
    """The path as the routes see it: without what a server in front has taken off."""
    path: str = scope["path"]
    root = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def _credential(headers: Headers) -> str | None:
    scheme, _, text = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and text.strip():
        return text.strip()
    return headers.get("xi-api-key", "").strip() or None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
