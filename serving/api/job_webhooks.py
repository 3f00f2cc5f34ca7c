"""Where a job's owner is told of its end: what is asked for, what is kept, what is shown."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import secrets
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from serving.errors import InvalidRequest
from serving.store.job import Job, NewWebhook

PREFIX = "whsec_"
SECRET_BYTES = (24, 64)
"""Least and most of a secret, by the specification of Standard Webhooks."""


class WebhookBody(BaseModel):
    """``secret`` is `whsec_` and 24 to 64 bytes in base64; without one, one is made and told once."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, max_length=2048, description="https:// URL that gets a POST when the job has ended")
    secret: SecretStr | None = Field(None, description="`whsec_` and 24 to 64 bytes in base64; default: one is made")


def _from_form(value: object) -> object:
    """A form has the object as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('write it as JSON, such as {"url": "https://example.com/hook"}') from None


WebhookField = Annotated[WebhookBody | None, BeforeValidator(_from_form)]


class JobWebhook(BaseModel):
    """What became of the message about the job's end; ``secret`` is only told when one is made."""

    url: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    last_error: str | None
    secret: str | None = Field(None, description="Only in the answer to the request that had it made")


def new_webhook(body: WebhookBody | None, *, private: bool) -> NewWebhook | None:
    """What is kept of ``body``; ``private`` takes http and any address. Raises InvalidRequest that names the field."""
    if body is None:
        return None
    _check_url(body.url, private=private)
    if body.secret is None:
        made = base64.b64encode(secrets.token_bytes(SECRET_BYTES[0])).decode()
        return NewWebhook(body.url, f"{PREFIX}{made}")
    secret = body.secret.get_secret_value()
    _check_secret(secret)
    return NewWebhook(body.url, secret)


def webhook_card(job: Job, secret: str | None = None) -> JobWebhook | None:
    """What is told of it; None where the job has none."""
    if job.webhook_url is None:
        return None
    if job.webhook is None:
        return JobWebhook(url=job.webhook_url, state="pending", attempts=0, last_error=None, secret=secret)
    return JobWebhook.model_validate(
        {"url": job.webhook_url, "secret": secret, "state": job.webhook.state, "attempts": job.webhook.attempts,
         "last_error": job.webhook.last_error}
    )  # fmt: skip


def _check_url(url: str, *, private: bool) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or not url.isascii() or not url.isprintable() or " " in url:
        raise _bad_url("is no URL; write https://host/path, in ASCII")
    if parts.username is not None or parts.fragment:
        raise _bad_url("must have neither a user nor a fragment; messages are signed instead")
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise _bad_url(
            "must be https://" + (" or http://" if private else "; the setting jobs.webhook_private takes http:// too")
        )
    if not private and _is_inside(host):
        raise _bad_url(
            "is an address inside, to which this server sends nothing; the setting jobs.webhook_private allows it"
        )


def _is_inside(host: str) -> bool:
    """Whether ``host`` itself says so; where a name leads is looked at when a message is sent."""
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        host = host.rstrip(".")
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


def _check_secret(secret: str) -> None:
    least, most = SECRET_BYTES
    try:
        size = len(base64.b64decode(secret.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not secret.startswith(PREFIX) or not least <= size <= most:
        raise InvalidRequest(
            f"webhook.secret: write {PREFIX} and {least} to {most} bytes in base64, or leave it out", "webhook.secret"
        )


def _bad_url(reason: str) -> InvalidRequest:
    return InvalidRequest(f"webhook.url {reason}", "webhook.url")
