"""What the command line changes is in the audit log."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from serving.audio.wav import wav_bytes
from serving.cli import app
from serving.settings import Settings
from serving.store.audit import AuditStore, Entry
from serving.store.database import SQLITE_FILE, Database
from tests.audio_measure import tone


def run(*arguments: str, data: Path) -> str:
    result = CliRunner().invoke(app, [*arguments, "--data", str(data)])
    assert result.exit_code == 0, result.output
    return result.output


def written(data: Path) -> list[Entry]:
    database = Database.for_volume(None, data)
    try:
        return AuditStore(database).list(None, 100)
    finally:
        database.close()


def test_keys_and_voices_that_are_made_and_removed_are_written_down(settings: Settings, tmp_path: Path) -> None:
    recording = tmp_path / "ada.wav"
    recording.write_bytes(wav_bytes(tone(220, 2.0, 16000), 16000))
    run("keys", "create", "--name", "app", "--tenant", "acme", data=settings.data)
    key = written(settings.data)[0].object_id
    assert key is not None
    run("keys", "revoke", key, "--yes", data=settings.data)
    run("voices", "add", str(recording), "--name", "Ada", data=settings.data)
    run("voices", "remove", "Ada", "--yes", data=settings.data)
    removed, added, revoked, created = written(settings.data)
    assert [each.action for each in (created, revoked, added, removed)] == [
        "key.create", "key.revoke", "voice.create", "voice.delete",
    ]  # fmt: skip
    assert [each.tenant for each in (created, revoked, added, removed)] == ["acme", "acme", "default", "default"]
    assert added.object_id == removed.object_id
    assert all(each.actor.startswith("cli:") and each.actor != "cli:" for each in (created, removed))
    assert created.detail == {"scopes": ["speech"]}


def test_looking_makes_no_database(settings: Settings) -> None:
    run("models", "list", data=settings.data)
    assert not (settings.data / SQLITE_FILE).exists()
