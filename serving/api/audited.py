"""Every change over HTTP is in the audit log: around the routes, by one table, so that none of them can forget it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.access import READS
from serving.api.caller import current, tenant
from serving.api.context import Context
from serving.store.audit import Entry, Outcome

ACTIONS: Mapping[str, str] = {
    "create_voice": "voice.create",
    "delete_voice": "voice.delete",
    "elevenlabs_add_voice": "voice.create",
    "elevenlabs_delete_voice": "voice.delete",
    "import_voice": "voice.import",
    "create_voice_consent": "consent.create",
    "update_voice_consent": "consent.update",
    "delete_voice_consent": "consent.delete",
    "replace_pronunciations": "pronunciations.replace",
    "delete_pronunciations": "pronunciations.delete",
    "create_conversion_model": "conversion_model.create",
    "delete_conversion_model": "conversion_model.delete",
    "create_profile": "profile.create",
    "replace_profile": "profile.replace",
    "set_default_profile": "profile.set_default",
    "delete_profile": "profile.delete",
    "create_job": "job.create",
    "cancel_job": "job.cancel",
    "retry_job": "job.retry",
    "delete_job": "job.delete",
    "create_dataset": "dataset.create",
    "add_dataset_files": "dataset.add_files",
    "delete_dataset": "dataset.delete",
    "create_training_run": "run.create",
    "cancel_training_run": "run.cancel",
    "resume_training_run": "run.resume",
    "delete_training_run": "run.delete",
    "promote_training_run": "model.promote",
    "rollback_training_run": "model.rollback",
    "create_key": "key.create",
    "revoke_key": "key.revoke",
}
"""What a route does, by its name. A route that changes something and is in neither table is logged by its own name."""

EXEMPT: Mapping[str, str] = {
    "create_speech": "speech is told and kept nowhere; the request log has it",
    "create_conversion": "as speech",
    "elevenlabs_speech": "as speech",
    "elevenlabs_speech_stream": "as speech",
    "elevenlabs_conversion": "as speech",
    "elevenlabs_conversion_stream": "as speech",
}
"""Routes by POST that change nothing, and why."""

TOLD = ("state", "scopes", "tenant", "model", "revision")
"""What of an answer an entry keeps: no names, no texts, no keys."""

WAIT_S = 5.0
"""Longest that an answer waits for its row, which may come later."""

_object: ContextVar[MutableMapping[str, str] | None] = ContextVar("audited_object", default=None)


def audited(object_id: str) -> None:
    """Say which object a request is about, where neither its answer nor its path has the id."""
    noted = _object.get()
    if noted is not None:
        noted["id"] = object_id


def action_of(scope: Scope) -> str | None:
    """What the request of ``scope`` changes; None if it changes nothing, or reached no route."""
    name: str | None = getattr(scope.get("route"), "name", None)
    if name is None or scope["method"] in READS or name in EXEMPT:
        return None
    return ACTIONS.get(name, name)


class Audit:
    """ASGI middleware inside the guard: an answer to a change is sent when its row is written, or could not be."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self.app = app
        self.context = context
        self._writing: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in READS:
            await self.app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        token = _object.set(answer.noted)
        try:
            await self.app(scope, receive, answer.send)
        except BaseException as error:
            left = isinstance(error, asyncio.CancelledError)
            self._write(answer, "unknown" if left else "failed")
            raise
        finally:
            _object.reset(token)
        writing = self._write(answer, "succeeded" if answer.status < 400 else "failed")
        if writing is not None:
            await asyncio.wait({writing}, timeout=WAIT_S)
        await answer.release()

    def _write(self, answer: _Answer, outcome: Outcome) -> asyncio.Task[None] | None:
        """Begin to write; a client that leaves does not end it."""
        action = action_of(answer.scope)
        if action is None or answer.status == 405:
            return None
        task = asyncio.create_task(self.context.record(answer.entry(action, outcome)))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return task


class _Answer:
    """The answer to a change, held back: they are small JSON. Answers of exempt routes pass as they come."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.status = 500
        self.noted: dict[str, str] = {}
        self._send = send
        self._passes = False
        self._held: list[Message] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._passes = action_of(self.scope) is None
        if self._passes:
            await self._send(message)
        else:
            self._held.append(message)

    async def release(self) -> None:
        for message in self._held:
            await self._send(message)
        self._held.clear()

    def entry(self, action: str, outcome: Outcome) -> Entry:
        body = self._body()
        named = {key: str(value)[:200] for key, value in self.scope.get("path_params", {}).items()}
        found = self.noted.get("id") or body.get("id") or body.get("voice_id")
        if found is None and action.startswith("model.") and "revision" in body:
            found = f"{body.get('model')}@{body['revision']}"
        if found is None:
            found = next(iter(named.values()), None)
        detail: dict[str, object] = {"status": self.status}
        if action.startswith("model."):
            detail |= named
        if self.status < 400:
            detail |= {key: body[key] for key in TOLD if key in body}
        elif isinstance(body.get("error"), dict):
            detail["code"] = body["error"].get("code")
        owner = str(body["tenant"]) if action.startswith("key.") and "tenant" in body else tenant()  # may be another's
        return Entry(owner, actor(), action, outcome, found and str(found), detail)

    def _body(self) -> dict[str, Any]:
        try:
            found = json.loads(b"".join(message.get("body", b"") for message in self._held))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def actor() -> str:
    """Who asks, as the audit log calls them."""
    caller = current.get()
    return "anonymous" if caller is None else caller.key_id
