"""One frozen tree of settings, parsed once and passed down as arguments.

Sources, first wins: arguments of ``load_settings`` (CLI options, Ray Serve ``args``), the environment
(``KUBEVOICE_XTTS__DEVICE=cuda``), the seed system's names (``XTTS_DEVICE``, ``XTTS_FALLBACK_CPU``), the defaults below.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from serving.errors import ConfigurationError

Number = TypeVar("Number", int, float)

PREFIX = "KUBEVOICE_"
DELIMITER = "__"

SEED_NAMES = {"XTTS_DEVICE": "xtts.device", "XTTS_FALLBACK_CPU": "xtts.fallback_cpu"}
"""Environment names of the original system that keep working."""

SERVICE_LINK = re.compile(r"KUBEVOICE_(\w+_)?((SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+)=|PORT=\w+://)")
"""What Kubernetes injects into every pod beside a Service whose name starts with kubevoice; never a setting. The value
of the last tells it from a misspelt KUBEVOICE_HTTP__PORT."""


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
    ongoing_per_replica: int = Field(16, ge=1, description="Requests one speech replica works on at a time")
    queued_per_ingress: int = Field(
        64, ge=1, description="Requests that may wait for their first audio in one ingress replica; more get 429"
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
        2 * 1024**3, ge=1, description="Memory for voices in one replica, in bytes; a voice takes about 110 MB"
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
    template: str | None = Field(
        None, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", description="ConfigMap with the Job template of runs"
    )
    namespace: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        description="Kubernetes namespace of runs; empty means the pod's own, or the kubeconfig's",
    )


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe message logged")
    format: Literal["json", "text"] = Field("json", description="One JSON object a line, or text for people")


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, frozen=True, extra="forbid", env_ignore_empty=True
    )

    data: Path = Field(Path("~/.kubevoice"), description="The volume: models, voices, jobs, datasets, training runs")
    engine: Literal["auto", "xtts", "espeak"] = Field(
        "auto", description="auto takes XTTS where its weights are on the volume, else espeak"
    )
    http: HttpSettings = HttpSettings()
    limits: LimitSettings = LimitSettings()
    voices: VoiceSettings = VoiceSettings()
    xtts: XttsSettings = XttsSettings()
    rvc: RvcSettings = RvcSettings()
    replicas: ReplicaSettings = ReplicaSettings()
    database: DatabaseSettings = DatabaseSettings()
    launch: LaunchSettings = LaunchSettings()
    log: LogSettings = LogSettings()

    @field_validator("data")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Parse the settings from ``overrides`` (a nested mapping) and the environment.

    Raises ConfigurationError that names the key, its value and what was expected.
    """
    _refuse_unknown_variables()
    values: dict[str, Any] = {**(overrides or {})}
    for old, path in SEED_NAMES.items():
        section, _, key = path.partition(".")
        if os.environ.get(old) and f"{PREFIX}{section}{DELIMITER}{key}".upper() not in os.environ:
            values[section] = {key: os.environ[old], **values.get(section, {})}
    try:
        return Settings(**values)
    except SettingsError:
        name = f"{PREFIX}VOICES{DELIMITER}ALIASES"  # the only one that is written as JSON
        raise ConfigurationError(
            f'setting voices.aliases ({name}): expected JSON like {{"alloy": "f2"}} (got {os.environ.get(name)!r})',
            param="voices.aliases",
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        variable = PREFIX + key.replace(".", DELIMITER).upper()
        value = "" if "url" in key else f" (got {first['input']!r})"
        raise ConfigurationError(f"setting {key} ({variable}): {first['msg']}{value}", param=key) from None


def setting_rows(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every leaf setting as (environment variable, default, description): the documentation's table."""
    for name, info in model.model_fields.items():
        key = f"{prefix}{name}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from setting_rows(info.annotation, f"{key}{DELIMITER}")
        else:
            default = info.get_default(call_default_factory=True, validated_data={})
            shown = "" if default is None else str(default)
            yield PREFIX + key.upper(), shown, info.description or ""


def _refuse_unknown_variables() -> None:
    known = {name for name, _, _ in setting_rows()}
    for name, value in os.environ.items():
        key = name.upper()  # pydantic-settings takes either case
        if key.startswith(PREFIX) and key not in known and not SERVICE_LINK.match(f"{key}={value}"):
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; docs/settings.md lists the known ones"
            raise ConfigurationError(f"unknown setting {name}{hint}", param=name)
