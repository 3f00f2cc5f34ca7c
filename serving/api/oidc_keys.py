"""The public keys of an OIDC issuer: fetched when a token needs one, remembered, and not fetched at strangers' will."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import httpx2
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from serving.errors import Unauthenticated, Unavailable
from serving.settings_groups import is_guarded_url

logger = logging.getLogger(__name__)

DISCOVERY = "/.well-known/openid-configuration"

FRESH_S = 300.0
"""Age at which keys are fetched again beside the requests: one that the issuer withdrew works for so long at most."""

PAUSE_S = 10.0
"""Least time between two fetches, whatever key ids tokens name."""

TIMEOUT_S = 5.0
MOST_BYTES = 1_000_000
MOST_KEYS = 200

ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
"""What a key may sign with, by its type or curve; a key of a shared secret (``oct``) nothing."""


class SigningKeys:
    """The keys that ``issuer`` publishes at ``jwks_url``, or at the address that its own description names."""

    def __init__(self, issuer: str, jwks_url: str | None, algorithms: Collection[str]) -> None:
        self._issuer, self._jwks_url = issuer, jwks_url
        self._algorithms = frozenset(algorithms)
        self._keys: dict[tuple[str | None, str], PyJWK] = {}
        self._fetched_at = self._tried_at = -math.inf
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> PyJWK:
        """The key of id ``kid`` for ``algorithm``; without an id the only one there is.

        Raises Unauthenticated where the issuer has none, Unavailable where it cannot be asked. Keys that are known work
        while it is away.
        """
        now = time.monotonic()
        key = self._known(kid, algorithm)
        if key is not None:
            if now - self._fetched_at >= FRESH_S and now - self._tried_at >= PAUSE_S:
                self._fetch()
            return key
        if self._fetching is not None and not self._fetching.done():
            await asyncio.shield(self._fetching)
        elif now - self._tried_at >= PAUSE_S:
            await asyncio.shield(self._fetch())
        key = self._known(kid, algorithm)
        if key is None:
            raise self._unknown()
        return key

    def _known(self, kid: str | None, algorithm: str) -> PyJWK | None:
        if kid is not None:
            return self._keys.get((kid, algorithm))
        fitting = [key for (_, each), key in self._keys.items() if each == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    def _unknown(self) -> Unauthenticated | Unavailable:
        if self._fetched_at < self._tried_at:
            wait = max(1, math.ceil(self._tried_at + PAUSE_S - time.monotonic()))
            return Unavailable("the issuer of tokens does not tell its keys at the moment; try again", wait)
        return Unauthenticated(
            "the token is signed with a key that its issuer does not have; get a new one", code="invalid_token"
        )

    def _fetch(self) -> asyncio.Task[None]:
        self._fetching = asyncio.create_task(self._refresh())
        return self._fetching

    async def _refresh(self) -> None:
        self._tried_at = began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_S), httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
                url = self._jwks_url or await self._discovered(client)
                keys = dict(_usable(await _object(client, url), self._algorithms))
            if not keys:
                raise ValueError(f"{url} has no key for {', '.join(sorted(self._algorithms))}")
        except (OSError, httpx2.HTTPError, httpx2.InvalidURL, ValueError, RecursionError) as error:
            logger.warning("the keys of %s cannot be had: %s", self._issuer, str(error) or type(error).__name__)
            return
        self._keys, self._fetched_at = keys, began

    async def _discovered(self, client: httpx2.AsyncClient) -> str:
        url = self._issuer.rstrip("/") + DISCOVERY
        described = await _object(client, url)
        if described.get("issuer") != self._issuer:
            raise ValueError(f"{url} describes another issuer, {str(described.get('issuer'))[:100]!r}")
        found = described.get("jwks_uri")
        if not isinstance(found, str) or not is_guarded_url(found):
            raise ValueError(f"{url} names no jwks_uri by https")
        return found


async def _object(client: httpx2.AsyncClient, url: str) -> Mapping[str, Any]:
    """The JSON object at ``url``; raises ValueError and what httpx raises."""
    async with client.stream("GET", url, headers={"Accept": "application/json"}) as answer:
        if answer.status_code != httpx2.codes.OK:
            raise ValueError(f"{url} answers {answer.status_code}")
        body = bytearray()
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > MOST_BYTES:
                raise ValueError(f"{url} answers with more than {MOST_BYTES:,} bytes")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError(f"{url} answers with no JSON object")
    return found


def _usable(jwks: Mapping[str, Any], algorithms: Collection[str]) -> Iterator[tuple[tuple[str | None, str], PyJWK]]:
    """The keys of a JWK set that sign, once for every algorithm; a key that cannot be read is left out."""
    listed = jwks.get("keys")
    for data in listed[:MOST_KEYS] if isinstance(listed, list) else []:
        if not isinstance(data, dict) or data.get("use", "sig") != "sig":
            continue
        kid = data.get("kid")
        fitting = ALGORITHMS.get(str(data.get("kty" if data.get("kty") == "RSA" else "crv")), ())
        for algorithm in fitting:
            if algorithm not in algorithms or data.get("alg", algorithm) != algorithm:
                continue
            try:
                yield (kid if isinstance(kid, str) else None, algorithm), PyJWK(_public(data), algorithm)
            except (PyJWTError, ValueError, TypeError) as error:
                logger.warning("a key of the issuer is left out: %s", type(error).__name__)


def _public(data: Mapping[str, Any]) -> dict[str, Any]:
    """Without private parts, which nobody should publish and nobody here needs."""
    return {name: data[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in data}
