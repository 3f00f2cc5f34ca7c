"""An OIDC issuer on 127.0.0.1 with keys of its own: it describes itself, publishes its keys and signs tokens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "kubevoice"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Issuer:
    """``asked`` are the paths that were asked for; ``answers`` replaces what a path answers: a status and a body."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys: dict[str, tuple[PrivateKey, str]] = {}
        self.asked: list[str] = []
        self.answers: dict[str, tuple[int, bytes]] = {}

    def add(self, kid: str, algorithm: str = "ES256") -> None:
        """A new key, published from now on."""
        key: PrivateKey
        if algorithm == "EdDSA":
            key = ed25519.Ed25519PrivateKey.generate()
        elif algorithm.startswith("ES"):
            curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
            key = ec.generate_private_key(curves[algorithm])
        else:
            key = rsa.generate_private_key(65537, 2048)
        self.keys[kid] = key, algorithm

    def token(self, kid: str, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token signed with key ``kid``; a claim that is None is left out."""
        now = int(time.time())
        told: dict[str, Any] = {
            "iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300, "tenant": "acme",
            "scope": "openid speech",
        }  # fmt: skip
        told = {name: value for name, value in {**told, **claims}.items() if value is not None}
        key, algorithm = self.keys[kid]
        return jwt.encode(told, key, algorithm, headers={"kid": kid} if headers is None else headers)

    def jwks(self) -> dict[str, Any]:
        return {"keys": [{**_public(key), "kid": kid, "use": "sig"} for kid, (key, _) in self.keys.items()]}

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if path == "/.well-known/openid-configuration":
            return 200, json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}).encode()
        return (200, json.dumps(self.jwks()).encode()) if path == "/jwks" else (404, b"")


def _public(key: PrivateKey) -> dict[str, Any]:
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        return dict(RSAAlgorithm.to_jwk(public, as_dict=True))
    if isinstance(public, ec.EllipticCurvePublicKey):
        return dict(ECAlgorithm.to_jwk(public, as_dict=True))
    return dict(OKPAlgorithm.to_jwk(public, as_dict=True))


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """An issuer with the EC key ``one``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = issuer.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nothing: tests read what was asked."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    issuer.add("one")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
