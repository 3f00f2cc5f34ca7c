from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from serving.errors import NotFound
from serving.logs import AUDIT
from serving.store.audit import AuditStore, Entry
from serving.store.database import Database

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def audit(database: Database) -> AuditStore:
    return AuditStore(database)


def entry(number: int, tenant: str = "acme", at: datetime = NOON, object_id: str | None = None) -> Entry:
    return Entry(
        tenant, "key_1", "voice.delete", "succeeded", object_id, {"status": 200}, f"req_{number}", at, f"audit_{number}"
    )


def test_entries_come_back_newest_first_and_by_pages(audit: AuditStore) -> None:
    made = [entry(1), entry(2), entry(3, at=NOON + timedelta(seconds=1)), entry(4, "other")]
    assert all(audit.record(each) for each in made)
    assert audit.list("acme", 10) == [made[2], made[1], made[0]]
    assert audit.list(None, 10) == [made[2], made[3], made[1], made[0]]
    assert audit.list("acme", 1, after="audit_3") == [made[1]]
    assert audit.list("acme", 10, after="audit_1") == []
    assert audit.list("acme", 10, since=NOON + timedelta(seconds=1)) == [made[2]]
    for hidden in ("audit_4", "audit_none"):
        with pytest.raises(NotFound, match="begin without after"):
            audit.list("acme", 10, after=hidden)


def test_what_a_client_invents_can_be_stored(audit: AuditStore) -> None:
    assert audit.record(entry(1, object_id="a\0b\ud800" + "x" * 999))
    (found,) = audit.list("acme", 10)
    assert found.object_id == "a?b?" + "x" * 251


def test_old_entries_are_swept(audit: AuditStore) -> None:
    now = datetime.now(UTC)
    audit.record(entry(1, at=now - timedelta(days=31)))
    audit.record(entry(2, at=now - timedelta(days=29)))
    assert audit.sweep(timedelta(days=30)) == 1
    assert [each.id for each in audit.list(None, 10)] == ["audit_2"]


def test_without_a_database_there_is_the_line(caplog: pytest.LogCaptureFixture) -> None:
    database = Database("sqlite:////nowhere/kubevoice.db")
    with caplog.at_level(logging.INFO, AUDIT):
        assert not AuditStore(database).record(entry(1, object_id="voice_1"))
    assert (caplog.records[0].name, caplog.records[0].message) == (AUDIT, "voice.delete")
    assert caplog.records[0].__dict__["fields"]["object_id"] == "voice_1"
    database.close()
