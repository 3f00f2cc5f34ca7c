"""Settings: where they come from, and what a bad one says."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serving.errors import ConfigurationError
from serving.settings import Settings, load_settings, setting_rows


def test_the_defaults_listen_on_loopback_and_store_in_the_home_directory() -> None:
    settings = load_settings()

    assert settings.http.host == "127.0.0.1"
    assert settings.data == Path("~/.kubevoice").expanduser()
    assert (settings.engine, settings.xtts.device, settings.database.url) == ("auto", "auto", None)


def test_the_environment_sets_and_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEVOICE_HTTP__PORT", "9000")
    monkeypatch.setenv("KUBEVOICE_HTTP__HOST", "::1")
    monkeypatch.setenv("KUBEVOICE_DATA", "relative")
    monkeypatch.setenv("KUBEVOICE_VOICES__ALIASES", '{"narrator": "f2"}')
    settings = load_settings({"http": {"port": 9001}})

    assert (settings.http.port, settings.http.host) == (9001, "::1")
    assert settings.data == Path.cwd() / "relative"
    assert settings.voices.aliases == {"narrator": "f2"}


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEVOICE_HTTP__PORT", "")
    monkeypatch.setenv("XTTS_DEVICE", "")

    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("variables", "overrides", "device"),
    [
        ({"XTTS_DEVICE": "cpu"}, {}, "cpu"),
        ({"XTTS_DEVICE": "cpu", "KUBEVOICE_XTTS__DEVICE": "cuda:1"}, {}, "cuda:1"),
        ({"XTTS_DEVICE": "cpu"}, {"xtts": {"device": "cuda"}}, "cuda"),
        ({"XTTS_DEVICE": "cpu"}, {"xtts": {"model": "mine"}}, "cpu"),
    ],
)
def test_the_seed_systems_names_work_and_give_way(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], overrides: dict[str, Any], device: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert load_settings(overrides).xtts.device == device


def test_the_seed_systems_fallback_switch_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XTTS_FALLBACK_CPU", "true")

    assert load_settings().xtts.fallback_cpu


@pytest.mark.parametrize(
    ("name", "value", "param", "words"),
    [
        ("KUBEVOICE_HTTP__PORT", "abc", "http.port", "integer"),
        ("KUBEVOICE_HTTP__PORT", "70000", "http.port", "65535"),
        ("KUBEVOICE_ENGINE", "rvc", "engine", "'espeak'"),
        ("KUBEVOICE_XTTS__DEVICE", "tpu", "xtts.device", "cuda"),
        ("KUBEVOICE_XTTS__FALLBACK_CPU", "maybe", "xtts.fallback_cpu", "boolean"),
        ("KUBEVOICE_XTTS__MODEL", "../../etc", "xtts.model", "pattern"),
        ("XTTS_DEVICE", "tpu", "xtts.device", "cuda"),
        ("KUBEVOICE_VOICES__ALIASES", "alloy=f2", "voices.aliases", "JSON"),
        ("KUBEVOICE_VOICES__ALIASES", "[1]", "voices.aliases", "dictionary"),
        ("KUBEVOICE_LIMITS__REFERENCE_MIN_S", "500", "limits.reference_max_s", "reference_min_s"),
        ("KUBEVOICE_REPLICAS__MIN", "3", "replicas.max", "min"),
        ("KUBEVOICE_LOG__LEVEL", "LOUD", "log.level", "'INFO'"),
    ],
)
def test_a_bad_value_names_the_setting_the_value_and_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, param: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()

    assert caught.value.param == param
    assert words in str(caught.value)
    assert f"KUBEVOICE_{param.replace('.', '__').upper()}" in str(caught.value)
    assert value in str(caught.value) or param in ("limits.reference_max_s", "replicas.max")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("KUBEVOICE_HTTP__PROT", "KUBEVOICE_HTTP__PORT"),
        ("KUBEVOICE_HTTP_PORT", "KUBEVOICE_HTTP__PORT"),
        ("kubevoice_engin", "KUBEVOICE_ENGINE"),
        ("KUBEVOICE_ZZZZZZZZZZZZZZZZZZZZZZ", "docs/settings.md"),
    ],
)
def test_an_unknown_variable_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "9000")
    with pytest.raises(ConfigurationError, match=name) as caught:
        load_settings()

    assert hint in str(caught.value)


def test_an_unknown_argument_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"http": {"prot": 1}})

    assert caught.value.param == "http.prot"


def test_what_kubernetes_injects_for_a_service_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KUBEVOICE_PORT": "tcp://10.0.0.1:8000",
        "KUBEVOICE_HEAD_PORT": "tcp://10.0.0.1:8000",
        "KUBEVOICE_SERVICE_HOST": "10.0.0.1",
        "KUBEVOICE_SERVICE_PORT": "8000",
        "KUBEVOICE_SERVICE_PORT_HTTP": "8000",
        "KUBEVOICE_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "KUBEVOICE_PORT_8000_TCP_ADDR": "10.0.0.1",
        "KUBEVOICE_PORT_8000_TCP_PORT": "8000",
        "KUBEVOICE_POSTGRESQL_SERVICE_HOST": "10.0.0.2",
    }.items():
        monkeypatch.setenv(name, value)

    assert load_settings() == Settings()


def test_the_database_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEVOICE_DATABASE__URL", "postgresql://me:hunter2@db/x")
    settings = load_settings()

    assert "hunter2" not in repr(settings)
    assert settings.database.url is not None
    assert "hunter2" in settings.database.url.get_secret_value()
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"database": {"url": ["hunter2"]}})
    assert "hunter2" not in str(caught.value)


def test_settings_are_frozen_and_travel_between_processes() -> None:
    settings = load_settings({"http": {"port": 1}})

    with pytest.raises(ValidationError):
        settings.engine = "xtts"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.http.port = 2  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_the_documentations_table_has_every_leaf_with_a_description() -> None:
    rows = list(setting_rows())

    assert ("KUBEVOICE_HTTP__PORT", "8000", "Port to listen on; 0 picks a free one") in rows
    assert all(name.startswith("KUBEVOICE_") and description for name, _, description in rows)
    assert len({name for name, _, _ in rows}) == len(rows) > 20


@pytest.mark.parametrize(
    ("oidc", "setting"),
    [
        ({"issuer": "https://login.example.org"}, "oidc.audience"),
        ({"issuer": "http://login.example.org", "audience": "us"}, "oidc.issuer"),
        ({"issuer": "http://127.evil.example.org", "audience": "us"}, "oidc.issuer"),
        ({"issuer": "login.example.org", "audience": "us"}, "oidc.issuer"),
        ({"jwks_url": "http://[::1/keys"}, "oidc.jwks_url"),
        ({"algorithms": "RS256 HS256"}, "oidc.algorithms"),
        ({"algorithms": "none"}, "oidc.algorithms"),
        ({"algorithms": " "}, "oidc.algorithms"),
    ],
)
def test_an_issuer_that_cannot_be_trusted_is_refused_by_name(oidc: dict[str, str], setting: str) -> None:
    with pytest.raises(ConfigurationError, match=setting) as failure:
        load_settings({"oidc": oidc})
    assert failure.value.param == setting
    assert "Value error" not in str(failure.value)


def test_an_issuer_is_by_https_or_on_this_machine() -> None:
    for issuer in (
        "https://login.example.org/realms/a",
        "http://127.0.0.1:8080",
        "http://localhost:1",
        "http://[::1]:2",
    ):
        chosen = load_settings({"oidc": {"issuer": issuer, "audience": "us", "algorithms": "ES256,EdDSA"}}).oidc
        assert (chosen.issuer, chosen.algorithms) == (issuer, "ES256 EdDSA")


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost:6379", "redis://"])
def test_the_redis_of_quotas_is_a_url_and_never_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis://") as refusal:
        load_settings({"quotas": {"redis_url": url}})
    assert refusal.value.param == "quotas.redis_url"
    assert f"got '{url}'" not in str(refusal.value)
    secret = load_settings({"quotas": {"redis_url": "redis://:hunter2@redis:6379/0"}})
    assert "hunter2" not in repr(secret)
