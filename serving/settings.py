"""One frozen tree of settings, parsed once and passed down as arguments.

Sources, first wins: arguments of ``load_settings`` (CLI options, Ray Serve ``args``), the environment
(``KUBEVOICE_XTTS__DEVICE=cuda``), the seed system's names (``XTTS_DEVICE``, ``XTTS_FALLBACK_CPU``), the defaults below.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from serving.errors import ConfigurationError, fault
from serving.settings_groups import (
    AuthSettings,
    DatabaseSettings,
    HttpSettings,
    JobSettings,
    LaunchSettings,
    LimitSettings,
    LogSettings,
    OidcSettings,
    QuotaSettings,
    ReplicaSettings,
    RvcSettings,
    Section,
    VoiceSettings,
    XttsSettings,
)

PREFIX = "KUBEVOICE_"
DELIMITER = "__"

SEED_NAMES = {"XTTS_DEVICE": "xtts.device", "XTTS_FALLBACK_CPU": "xtts.fallback_cpu"}
"""Environment names of the original system that keep working."""

SECRETS = ("database.url", "auth.root_key", "auth.pepper", "quotas.redis_url")
"""Settings that are never shown and, where the environment has them, not handed on: replicas read them there."""

SERVICE_LINK = re.compile(r"KUBEVOICE_(\w+_)?((SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+)=|PORT=\w+://)")
"""What Kubernetes injects into every pod beside a Service whose name starts with kubevoice; never a setting. The value
of the last tells it from a misspelt KUBEVOICE_HTTP__PORT."""


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
    jobs: JobSettings = JobSettings()
    auth: AuthSettings = AuthSettings()
    oidc: OidcSettings = OidcSettings()
    quotas: QuotaSettings = QuotaSettings()
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
        value = "" if key in SECRETS else f" (got {first['input']!r})"
        raise ConfigurationError(f"setting {key} ({variable}): {fault(first)}{value}", param=key) from None


def without_secrets(settings: Settings) -> Settings:
    """``settings`` as they may be stored: without the secrets that the environment has."""
    return _with_secrets(settings, lambda own, environment: None if own == environment else own)


def with_secrets(settings: Settings) -> Settings:
    """What ``without_secrets`` left out, back from the environment."""
    return _with_secrets(settings, lambda own, environment: own or environment)


def _with_secrets(
    settings: Settings, choose: Callable[[SecretStr | None, SecretStr | None], SecretStr | None]
) -> Settings:
    environment = load_settings()
    for key in SECRETS:
        section, _, name = key.partition(".")
        group = getattr(settings, section)
        chosen = choose(getattr(group, name), getattr(getattr(environment, section), name))
        settings = settings.model_copy(update={section: group.model_copy(update={name: chosen})})
    return settings


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
