from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from serving.cli import app
from serving.settings import Settings
from serving.store.voices import VoiceStore
from tests.serving.api.guarded import bearer, keys_of, scripted_app


def keys(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments, "--data", str(settings.data)])


def test_a_key_is_printed_once_works_and_is_revoked(store: VoiceStore, settings: Settings) -> None:
    client = TestClient(scripted_app(store, settings))
    made = keys(settings, "create", "--name", "laptop", "--tenant", "acme", "--scope", "voices", "--scope", "speech")
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    assert "shown once" in made.stderr
    (card,) = json.loads(keys(settings, "list", "--tenant", "acme", "--json").stdout)
    assert (card["name"], card["scopes"], card["state"]) == ("laptop", ["speech", "voices"], "active")
    listed = keys(settings, "list").stdout
    assert card["id"] in listed
    assert f"...{text[-4:]}" in listed
    assert text not in listed
    assert client.get("/v1/audio/voices").status_code == 401
    assert client.get("/v1/audio/voices", headers=bearer(text)).status_code == 200

    refused = keys(settings, "revoke", card["id"])
    assert (refused.exit_code, "--yes" in refused.stderr) == (2, True)
    assert keys(settings, "revoke", card["id"], "--yes").exit_code == 0
    assert client.get("/v1/audio/voices", headers=bearer(text)).status_code == 401
    assert "revoked" in keys(settings, "list").stdout
    assert keys(settings, "list", "--tenant", "other").stdout == ""


@pytest.mark.parametrize("expires", ["9999-12-31", "soon", "0d", "2027-13-01"])
def test_an_end_that_is_no_time_is_refused(store: VoiceStore, settings: Settings, expires: str) -> None:
    result = keys(settings, "create", "--name", "x", "--expires", expires)
    assert (result.exit_code, "--expires" in result.stderr) == (2, True)


@pytest.mark.parametrize(("expires", "days"), [("12h", 0.5), ("90d", 90.0)])
def test_a_key_ends_when_it_is_told_to(store: VoiceStore, settings: Settings, expires: str, days: float) -> None:
    assert keys(settings, "create", "--name", "x", "--expires", expires).exit_code == 0
    (key,) = keys_of(store).list("default")
    assert key.expires_at is not None
    assert (key.expires_at - key.created_at).total_seconds() == pytest.approx(days * 86400, abs=60)
    assert key.scopes == {"speech"}


def test_a_date_ends_with_its_day(store: VoiceStore, settings: Settings) -> None:
    assert keys(settings, "create", "--name", "x", "--expires", "2999-01-31").exit_code == 0
    (key,) = keys_of(store).list("default")
    assert f"{key.expires_at:%F %T}" == "2999-02-01 00:00:00"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("create", "--name", "x", "--expires", "soon"), "--expires"),
        (("create", "--name", "x", "--expires", "2020-01-01"), "past"),
        (("create", "--name", "x", "--scope", "root"), "'root' is none"),
        (("create", "--name", "x", "--tenant", "../x"), "tenant"),
        (("revoke", "key_0", "--yes"), "key_0"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    result = keys(Settings(data=tmp_path), *arguments)
    assert result.exit_code == 2
    assert named in result.stderr


def test_a_key_gets_limits_that_are_listed(store: VoiceStore, settings: Settings) -> None:
    limits = ("--limit", "requests_per_minute=60", "--limit", "audio_seconds_per_day=3600")
    assert keys(settings, "create", "--name", "x", *limits).exit_code == 0
    (card,) = json.loads(keys(settings, "list", "--json").stdout)
    assert card["limits"] == {"requests_per_minute": 60, "audio_seconds_per_day": 3600}
    assert "requests_per_minute=60" in keys(settings, "list").stdout


@pytest.mark.parametrize("limit", ["requests_per_minute", "requests_per_minute=0", "requests_per_minute=x", "words=5"])
def test_a_limit_that_is_none_is_refused_and_no_key_made(store: VoiceStore, settings: Settings, limit: str) -> None:
    refused = keys(settings, "create", "--name", "x", "--limit", limit)
    assert refused.exit_code == 2, refused.output
    assert "requests_per_minute" in refused.stderr
    assert keys_of(store).list("default") == []
