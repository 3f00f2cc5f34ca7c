"""The groups of settings, with their names, defaults and ranges; ``serving.settings`` has the tree of them."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

Number = TypeVar("Number", int, float)

ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.-]+(:[0-9]{1,5})?|[a-z][a-z0-9+.-]*://\[[0-9a-f:.]+\](:[0-9]{1,5})?"
)
"""As browsers send it (RFC 6454), a host's name or address behind the scheme."""


def _not_below(lower: str, value: Number, info: ValidationInfo) -> Number:
    if value < info.data.get(lower, value):
        raise ValueError(f"must be at least {lower}, which is {info.data[lower]:g}")
    return value


class Section(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSettings(Section):
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one")
    allow_unauthenticated: bool = Field(
        False, description="Allow an address other than loopback although no API keys are configured"
    )
    cors_origins: str = Field(
        "",
        description="Origins of web pages that may call the API, separated by blanks, such as https://app.example.org; "
        "* is all of them, empty is none",
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in value.split():
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin; write https://app.example.org, without a path, or *")
        return value


class LimitSettings(Section):
    input_chars: int = Field(4096, ge=1, description="Longest text of one speech request, in characters")
    upload_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="Largest reference audio file, in bytes")
    reference_min_s: float = Field(1.0, gt=0, description="Shortest reference audio, in seconds")
    reference_max_s: float = Field(
        120.0, gt=0, validate_default=True, description="Longest reference audio, in seconds"
    )
    conversion_bytes: int = Field(
        256 * 1024 * 1024, ge=1024, description="Largest recording to convert, sent whole or as a stream, in bytes"
    )
    conversion_max_s: float = Field(1800.0, gt=0, description="Longest recording to convert, in seconds")
    model_bytes: int = Field(600_000_000, ge=1024, description="Largest .pth file of a conversion model, in bytes")
    index_bytes: int = Field(1_000_000_000, ge=1024, description="Largest .index file of a conversion model, in bytes")
    dataset_bytes: int = Field(
        20_000_000_000, ge=1024, description="Largest upload to a dataset, also once its zip is unpacked, in bytes"
    )
    job_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="Largest body or file of a job: a long book is 4 MB, in bytes"
    )
    job_items: int = Field(10_000, ge=1, description="Most texts in the list of one job")
    ongoing_per_replica: int = Field(16, ge=1, description="Requests one speech replica works on at a time")
    queued_per_ingress: int = Field(
        64, ge=1, description="Requests that may wait for their first audio in one ingress replica; more get 429"
    )
    max_wait_s: float = Field(
        0.5,
        gt=0,
        description="While more requests wait than are heard in this time, as measured, new ones get 429, in seconds; "
        "as many as ongoing_per_replica are always let in",
    )
    stalled_client_s: float = Field(
        60.0,
        gt=0,
        description="A client that takes nothing of its answer, or sends nothing of its body, for so long is cut, "
        "in seconds",
    )

    @field_validator("reference_max_s")
    @classmethod
    def _not_below_the_shortest(cls, value: float, info: ValidationInfo) -> float:
        return _not_below("reference_min_s", value, info)


class VoiceSettings(Section):
    default: str = Field("default", description="Voice that `default` stands for: a preset, a voice id or a voice name")
    language: str = Field("en", description="Language when neither the request nor the voice names one")
    aliases: dict[str, str] = Field(
        default_factory=dict, description='Further voice names and what they stand for, as JSON: {"alloy": "f2"}'
    )


class XttsSettings(Section):
    model: str = Field("xtts_v2", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Directory below models/xtts/")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    fallback_cpu: bool = Field(False, description="Serve on the CPU when the GPU is missing or fails its probe")
    slots: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Sentences decoded at once; empty is 8 on the CPU, on a GPU 64 or what half its free memory holds",
    )
    queue: int = Field(256, ge=1, description="Requests that may wait for a slot in one replica; more get 429")
    queue_age_s: float = Field(
        30.0, gt=0, description="While the first waiting request has waited for longer, new ones get 429, in seconds"
    )
    decoder_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto is bfloat16 on a GPU and float32 on the CPU"
    )
    vocoder_precision: Literal["tf32", "float32", "float16"] = Field(
        "tf32", description="float16 is for GPUs only; tf32 is float32 where there are no TF32 units"
    )
    cuda_graphs: bool = Field(True, description="Decode by CUDA graphs; false for debugging a GPU")


class RvcReplicaSettings(Section):
    min: int = Field(1, ge=0, description="Fewest replicas that convert voices")
    max: int = Field(1, ge=1, validate_default=True, description="Most replicas that convert voices")
    gpus: float = Field(1.0, ge=0, description="GPUs of one of them; 0 on the CPU")
    cpus: float = Field(1.0, ge=0, description="CPUs of one of them")
    ongoing: int = Field(16, ge=1, description="Windows of recordings that one of them works on at a time")

    @field_validator("max")
    @classmethod
    def _not_below_the_fewest(cls, value: int, info: ValidationInfo) -> int:
        return _not_below("min", value, info)


class RvcSettings(Section):
    enabled: Literal["auto", "true", "false"] = Field(
        "auto", description="Voice conversion; auto where the content encoder is in models/shared on the volume"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    fallback_cpu: bool = Field(False, description="Convert on the CPU when the GPU is missing or fails its probe")
    voice_bytes: int = Field(
        2 * 1024**3,
        ge=1,
        description="Memory for voices in one replica, in bytes; a voice takes 110 MB, on a CPU 250 MB",
    )
    queue: int = Field(64, ge=1, description="Windows that may wait in one replica; more get 429")
    precision: Literal["tf32", "float32", "float16"] = Field(
        "tf32", description="Of the synthesizer; float16 is for GPUs only; tf32 is float32 without TF32 units"
    )
    replicas: RvcReplicaSettings = RvcReplicaSettings()

    @field_validator("enabled", mode="before")
    @classmethod
    def _as_a_word(cls, value: object) -> object:
        return str(value).lower() if isinstance(value, bool | str) else value


class ReplicaSettings(Section):
    ingress: int = Field(1, ge=1, description="Ingress replicas")
    min: int = Field(1, ge=0, description="Fewest speech replicas")
    max: int = Field(1, ge=1, validate_default=True, description="Most speech replicas")
    gpus: float = Field(1.0, ge=0, description="GPUs of one XTTS replica; 0 on the CPU")
    cpus: float = Field(1.0, ge=0, description="CPUs of one speech replica")

    @field_validator("max")
    @classmethod
    def _not_below_the_fewest(cls, value: int, info: ValidationInfo) -> int:
        return _not_below("min", value, info)


class DatabaseSettings(Section):
    url: SecretStr | None = Field(
        None, description="SQLAlchemy URL (postgresql+psycopg://...); empty means SQLite in the data directory"
    )


class LaunchSettings(Section):
    launcher: Literal["auto", "kubernetes", "local", "none"] = Field(
        "auto",
        description="What runs training: Jobs of Kubernetes, or processes of this machine; auto is kubernetes where "
        "launch.template is set, else local, and none in a pod",
    )
    template: str | None = Field(
        None, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", description="ConfigMap with the Job template of runs"
    )
    namespace: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        description="Kubernetes namespace of runs; empty means the pod's own, or the kubeconfig's",
    )
    at_once: int = Field(1, ge=1, le=64, description="Local runs that work at a time; others wait")
    retries: int = Field(3, ge=0, description="How often a local run that crashed is started again")
    grace_s: float = Field(
        300.0, gt=0, description="How long a local run may take to save when it is stopped, in seconds"
    )


class JobSettings(Section):
    workers: int = Field(1, ge=0, description="Replicas that speak jobs; 0 takes no jobs")
    concurrency: int = Field(4, ge=1, le=256, description="Texts of jobs that one of them has spoken at a time")
    lease_s: float = Field(
        30.0, ge=1, description="Until the texts of a worker that was killed are taken up by another, in seconds"
    )
    retention_hours: float = Field(168.0, gt=0, description="How long a job and its audio are kept once it has ended")
    webhook_private: bool = Field(
        False, description="Let webhooks go to private addresses too, such as a Service's, and without TLS"
    )


def is_guarded_url(url: str) -> bool:
    """Whether nobody on the way can change what ``url`` answers: https, or this machine itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        numeric = host[:1].isdigit() or ":" in host
        own = host == "localhost" or (numeric and ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and own))


ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Algorithms (RFC 7518, 8037) of which the issuer alone has the secret."""


class OidcSettings(Section):
    issuer: str | None = Field(
        None, description="Take tokens (JWT) of this OIDC issuer beside API keys: its URL as in the claim iss, by https"
    )
    audience: str | None = Field(
        None,
        min_length=1,
        validate_default=True,
        description="What a token's claim aud must have; needed with an issuer",
    )
    jwks_url: str | None = Field(
        None, description="Where the issuer's keys are; empty asks its .well-known/openid-configuration"
    )
    tenant_claim: str = Field(
        "tenant", min_length=1, description="Claim with the tenant; dots lead into objects, as in org.name"
    )
    scope_claim: str = Field(
        "scope", min_length=1, description="Claim with the scopes: words in a text, or a list, as in realm_access.roles"
    )
    scope_prefix: str = Field(
        "", description="What scopes begin with in a token, such as kubevoice: for kubevoice:speech"
    )
    algorithms: str = Field(
        "RS256 ES256", description=f"Algorithms taken, separated by blanks, of {' '.join(ASYMMETRIC)}"
    )
    leeway_s: float = Field(30.0, ge=0, le=300, description="How far clocks may differ, in seconds")

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _guarded(cls, value: str | None) -> str | None:
        if value is not None and not is_guarded_url(value):
            raise ValueError(
                "must be an https:// URL (http:// only on this machine): who changes the keys opens the door"
            )
        return value

    @field_validator("audience")
    @classmethod
    def _with_an_issuer(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("issuer") is not None:
            raise ValueError("is needed with oidc.issuer: its tokens for other services must not work here")
        return value

    @field_validator("algorithms")
    @classmethod
    def _asymmetric(cls, value: str) -> str:
        words = value.replace(",", " ").split()
        if not words or not set(words) <= set(ASYMMETRIC):
            raise ValueError(f"must be some of {' '.join(ASYMMETRIC)}")
        return " ".join(words)


class AuthSettings(Section):
    enabled: Literal["auto", "true", "false"] = Field(
        "auto",
        description="Ask for API keys or tokens; auto does once a key was made, or with auth.root_key or oidc.issuer",
    )
    root_key: SecretStr | None = Field(
        None, min_length=20, description="A key with all scopes that is in no table; from a Secret"
    )
    pepper: SecretStr | None = Field(
        None,
        min_length=20,
        description="Secret of the digests of keys, one for all replicas; empty keeps one in the data directory",
    )
    audit_days: int = Field(365, ge=1, description="How long the audit log keeps an entry, in days")

    @field_validator("enabled", mode="before")
    @classmethod
    def _as_a_word(cls, value: object) -> object:
        return str(value).lower() if isinstance(value, bool | str) else value


MOST = 10**12
"""Largest quota: Redis counts in whole numbers."""


class Limits(Section):
    """Quotas that a tenant or a key can have; None is no limit."""

    requests_per_minute: int | None = Field(
        None, ge=1, le=MOST, description="Requests for speech, conversions and jobs of a tenant in a minute"
    )
    requests_per_day: int | None = Field(None, ge=1, le=MOST, description="The same in a day")
    characters_per_minute: int | None = Field(
        None, ge=1, le=MOST, description="Characters that a tenant may have spoken in a minute; not those of jobs"
    )
    characters_per_day: int | None = Field(
        None, ge=1, le=MOST, description="Characters that a tenant may have spoken in a day, those of jobs as well"
    )
    audio_seconds_per_minute: int | None = Field(
        None, ge=1, le=MOST, description="Seconds of speech and converted audio of a tenant in a minute; not of jobs"
    )
    audio_seconds_per_day: int | None = Field(None, ge=1, le=MOST, description="The same in a day")


QUOTAS = tuple(Limits.model_fields)
"""The names of quotas."""


class QuotaSettings(Limits):
    redis_url: SecretStr | None = Field(
        None,
        description="redis://[:password@]host:port/db, where ingress replicas count together; empty: each by itself",
    )

    @field_validator("redis_url")
    @classmethod
    def _scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"rediss?://[^/]", value.get_secret_value()):
            raise ValueError("must begin with redis:// or rediss:// and name a host")
        return value


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe message logged")
    format: Literal["json", "text"] = Field("json", description="One JSON object a line, or text for people")
