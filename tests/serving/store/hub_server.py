"""A hub on 127.0.0.1: the two routes that a pull uses, and the faults that real lines have."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "coqui/XTTS-v2"
FILES = {
    "config.json": b'{"model": "xtts"}\n',
    "vocab.json": b'{"model": {"vocab": {}}}\n' * 10,
    "model.pth": bytes(range(256)) * 4096,
    "speakers_xtts.pth": b"speaker latents" * 1000,
}
LFS_FROM_BYTES = 1000


@dataclass
class Hub:
    """A repository as the hub would serve it; tests set the faults and read what was asked and sent.

    ``others`` are the files of further repositories, at the same commit. ``refuse`` answers every request with a status
    and an error code, ``refusals`` the next ones in turn.
    """

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    others: dict[str, dict[str, bytes]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    refuse: tuple[int, str] | None = None
    refusals: list[tuple[int, str] | None] = field(default_factory=list)
    break_after: int | None = None
    ignore_ranges: bool = False
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    endpoint: str = ""

    @property
    def repositories(self) -> dict[str, dict[str, bytes]]:
        return {REPOSITORY: self.files, **self.others}

    def info(self, repository: str = REPOSITORY) -> dict[str, Any]:
        return {
            "id": repository,
            "sha": COMMIT,
            "siblings": [_sibling(name, data) for name, data in self.repositories[repository].items()],
        }


def _sibling(name: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": _blob_id(data)}
    if len(data) >= LFS_FROM_BYTES:
        entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append((path, self.headers.get("Range"), self.headers.get("Authorization")))
        refuse = self.hub.refusals.pop(0) if self.hub.refusals else self.hub.refuse
        if refuse is not None:
            status, code = refuse
            self._reply(status, b"{}", {"X-Error-Code": code} if code else {})
        else:
            self._route(path)

    def _route(self, path: str) -> None:
        for repository in self.hub.repositories:
            if path in (f"/api/models/{repository}/revision/{name}" for name in ("main", COMMIT)):
                body = json.dumps(self.hub.info(repository)).encode()
                return self._reply(200, body, {"Content-Type": "application/json"})
            if path.startswith(f"/api/models/{repository}/revision/"):
                return self._reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            if path.startswith(f"/{repository}/resolve/{COMMIT}/"):
                return self._file(repository, path.rsplit("/", 1)[1])
        return self._reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _file(self, repository: str, name: str) -> None:
        data = self.hub.stored.get(name, self.hub.repositories[repository][name])
        requested = self.headers.get("Range")
        start = int(requested.removeprefix("bytes=").rstrip("-")) if requested and not self.hub.ignore_ranges else 0
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_blob_id(data)}"'}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        end = min(len(data), self.hub.break_after or len(data))
        self._reply(206 if start else 200, data[start:end], headers, length=len(data) - start)
        self.hub.sent[name] = self.hub.sent.get(name, 0) + end - start
        if end < len(data):
            self.close_connection = True

    def _reply(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the tests' output clean."""


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Serve ``hub`` on a free port for the length of the block."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
