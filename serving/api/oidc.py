"""Tokens of an OIDC issuer (JWT, RFC 7519) instead of API keys: who holds one, of which tenant, and what they may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt
from jwt.exceptions import (
    DecodeError,
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuedAtError,
    InvalidIssuerError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from serving.api.caller import Caller
from serving.api.oidc_keys import SigningKeys
from serving.errors import Unauthenticated
from serving.settings_groups import OidcSettings
from serving.store.api_keys import SCOPES
from serving.store.volume import is_safe_name

MOST_CHARS = 16 * 1024
"""Longest token: beyond it is no login but an attack."""

SUBJECT_CHARS = 200

REQUIRED = ["exp", "iss", "aud", "sub"]

FAULTS: Mapping[type[PyJWTError], str] = {
    InvalidSignatureError: "the token's signature is wrong",
    ExpiredSignatureError: "the token has expired (exp)",
    ImmatureSignatureError: "the token is not valid yet (nbf, iat)",
    InvalidIssuedAtError: "the token is not valid yet (nbf, iat)",
    InvalidAudienceError: "the token is not for {0.audience} (aud)",
    InvalidIssuerError: "the token is not from {0.issuer} (iss)",
    DecodeError: "the token is no JWT that can be read",  # after its subclass InvalidSignatureError
}
"""What is wrong with a token, by what PyJWT raises; ``{0}`` are the settings."""


def is_token(text: str) -> bool:
    """Whether ``text`` looks like a JWT: three parts. No API key has a dot."""
    return text.count(".") == 2


class Tokens:
    """Checks tokens by the settings ``oidc``, which name an issuer and an audience."""

    def __init__(self, settings: OidcSettings) -> None:
        assert settings.issuer is not None, "no issuer is configured"
        self._settings = settings
        self._algorithms = settings.algorithms.split()
        self._keys = SigningKeys(settings.issuer, settings.jwks_url, self._algorithms)

    async def caller(self, text: str) -> Caller:
        """Who holds the token ``text``.

        Raises Unauthenticated that says what is wrong with it, Unavailable where the issuer has to be asked and cannot.
        """
        if len(text) > MOST_CHARS:
            raise _refused(f"the token is longer than {MOST_CHARS:,} characters")
        kid, algorithm = self._header(text)
        key = await self._keys.find(kid, algorithm)
        claims = self._claims(text, key, algorithm)
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS or not subject.isprintable():
            raise _refused(f"the token's claim sub is no text of 1 to {SUBJECT_CHARS} printable characters")
        return Caller(f"oidc:{subject}", self._tenant(claims), self._scopes(claims))

    def _header(self, text: str) -> tuple[str | None, str]:
        """The id of the key, if there is one, and the algorithm; which the token claims for itself."""
        try:
            header = jwt.get_unverified_header(text)
        except (PyJWTError, ValueError):
            raise _refused("the token is no JWT that can be read") from None
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise _refused(f"the token's algorithm (alg) is none of {', '.join(self._algorithms)}")
        return header.get("kid"), algorithm

    def _claims(self, text: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        settings = self._settings
        try:
            return jwt.decode(
                text,
                key,
                algorithms=[algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_s,
                options={"require": REQUIRED, "enforce_minimum_key_length": True},
            )
        except PyJWTError as error:
            raise _refused(self._fault(error)) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise _refused("the token has a claim that cannot be read") from None

    def _fault(self, error: PyJWTError) -> str:
        if isinstance(error, MissingRequiredClaimError):
            return f"the token has no claim {error.claim}"
        for kind, fault in FAULTS.items():
            if isinstance(error, kind):
                return fault.format(self._settings)
        return "the token, or the key it is signed with, is not of a form that is taken here"

    def _tenant(self, claims: Mapping[str, Any]) -> str:
        name = self._settings.tenant_claim
        tenant = _claim(claims, name)
        if not isinstance(tenant, str) or not tenant:
            raise _refused(f"the token has no claim {name} with the tenant as text")
        if not is_safe_name(tenant):
            raise _refused(
                f"the token's claim {name} is no name of a tenant, which is 1 to 64 letters, digits, dots and dashes"
            )
        return tenant

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Those of ours that the token has; others mean something to somebody else."""
        found = _claim(claims, self._settings.scope_claim)
        words = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
        prefix = self._settings.scope_prefix
        given = {word.removeprefix(prefix) for word in words if isinstance(word, str) and word.startswith(prefix)}
        return frozenset(given & set(SCOPES))


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that name, or the one that its dots lead to, as in ``realm_access.roles``."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _refused(fault: str) -> Unauthenticated:
    return Unauthenticated(f"{fault}; get a new one from its issuer", code="invalid_token")
