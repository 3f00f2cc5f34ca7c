"""The audit log on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner, Result

from serving.cli import app
from serving.settings import Settings
from serving.store.audit import AuditStore, Entry
from serving.store.database import SQLITE_FILE, Database


@pytest.fixture
def now() -> datetime:
    """Not that of the collection of the tests: the suite takes longer than what some of them call a while."""
    return datetime.now(UTC)


def audit(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments, "--data", str(settings.data)])


def listed(settings: Settings, *arguments: str) -> list[str]:
    """The objects of the entries that are listed."""
    result = audit(settings, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [each["object_id"] for each in json.loads(result.stdout)]


@pytest.fixture
def entries(settings: Settings, now: datetime) -> list[Entry]:
    """What two tenants did in three days, the latest first."""
    settings.data.mkdir()
    database = Database.for_volume(None, settings.data)
    database.migrate()
    made = [
        Entry("acme", "key_1", "access.denied", "denied", None, {"method": "POST", "path": "/v1/keys", "count": 7},
              at=now - timedelta(minutes=5)),
        Entry("acme", "key_1", "voice.delete", "succeeded", "voice_1", {"status": 200}, "req_1",
              at=now - timedelta(hours=1)),
        Entry("other", "root", "voice.delete", "failed", "voice_2", {"status": 404, "code": "voice_not_found"},
              at=now - timedelta(hours=20)),
        Entry("acme", "key_1", "voice.create", "succeeded", "voice_1", {"status": 200}, at=now - timedelta(days=3)),
    ]  # fmt: skip
    for entry in made:
        assert AuditStore(database).record(entry)
    database.close()
    return made


def test_entries_are_listed_newest_first_with_what_came_of_them(settings: Settings, entries: list[Entry]) -> None:
    lines = [line.split("\t") for line in audit(settings).stdout.splitlines()]
    assert [line[1:] for line in lines] == [
        ["acme", "key_1", "access.denied", "", "denied x7"],
        ["acme", "key_1", "voice.delete", "voice_1", "succeeded"],
        ["other", "root", "voice.delete", "voice_2", "failed 404 voice_not_found"],
        ["acme", "key_1", "voice.create", "voice_1", "succeeded"],
    ]
    assert lines[0][0] == f"{entries[0].at:%F %T}"


def test_json_has_all_that_is_known(settings: Settings, entries: list[Entry]) -> None:
    _, deleted, *_ = json.loads(audit(settings, "--json").stdout)
    assert deleted == {
        "id": entries[1].id, "at": entries[1].at.isoformat(), "tenant": "acme", "actor": "key_1",
        "action": "voice.delete", "object_id": "voice_1", "request_id": "req_1", "outcome": "succeeded",
        "detail": {"status": 200},
    }  # fmt: skip


@pytest.mark.usefixtures("entries")
def test_filters_go_together(settings: Settings) -> None:
    assert listed(settings, "--tenant", "acme") == [None, "voice_1", "voice_1"]
    assert listed(settings, "--action", "voice.delete") == ["voice_1", "voice_2"]
    assert listed(settings, "--action", "voice.delete", "--tenant", "acme") == ["voice_1"]
    assert listed(settings, "--object", "voice_2") == ["voice_2"]
    assert listed(settings, "--limit", "2") == [None, "voice_1"]
    assert listed(settings, "--tenant", "nobody") == []


@pytest.mark.usefixtures("entries")
def test_a_time_is_so_long_ago_or_a_date_with_or_without_a_zone(settings: Settings, now: datetime) -> None:
    assert listed(settings, "--since", "30m") == [None]
    assert listed(settings, "--since", "12h") == [None, "voice_1"]
    assert listed(settings, "--since", "2d") == [None, "voice_1", "voice_2"]
    two_hours_ago = now - timedelta(hours=2)
    for text in (two_hours_ago.isoformat(), f"{two_hours_ago:%FT%T}", f"{two_hours_ago + timedelta(hours=5):%FT%T}+05"):
        assert listed(settings, "--since", text) == [None, "voice_1"], text
    assert len(listed(settings, "--since", f"{now - timedelta(days=4):%F}")) == 4
    assert listed(settings, "--since", "9999-12-31") == []


@pytest.mark.parametrize("since", ["yesterday", "0h", "12", "2027-13-01", "0001-01-01T00:00:00+05:00", ""])
def test_what_is_no_time_is_refused_with_one_that_is(settings: Settings, since: str) -> None:
    result = audit(settings, "--since", since)
    assert result.exit_code == 2
    assert f"--since {since!r} is no time; give 30m" in result.stderr


def test_where_there_is_no_database_none_is_made(settings: Settings) -> None:
    result = audit(settings)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no entries\n")
    assert audit(settings, "--json").stdout == "[]\n"
    assert not (settings.data / SQLITE_FILE).exists()


def test_what_the_command_line_did_is_among_them(settings: Settings) -> None:
    CliRunner().invoke(app, ["keys", "create", "--name", "app", "--tenant", "acme", "--data", str(settings.data)])
    (line,) = audit(settings, "--action", "key.create").stdout.splitlines()
    assert line.split("\t")[1] == "acme"
    assert line.split("\t")[2].startswith("cli:")
