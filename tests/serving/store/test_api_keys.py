from __future__ import annotations

import hmac
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from serving.errors import InvalidRequest, NotFound, StorageError
from serving.store.api_keys import KEY, SCOPES, ApiKeyStore
from serving.store.database import Database
from serving.store.pepper import pepper


@pytest.fixture
def keys(database: Database, tmp_path: Path) -> ApiKeyStore:
    return ApiKeyStore(database, tmp_path)


def test_a_key_is_found_by_its_text_alone(keys: ApiKeyStore) -> None:
    assert not keys.exist()
    made, secret = keys.create("acme", "laptop", ["speech", "voices"], limits={"requests_per_minute": 3})
    other, _ = keys.create("acme", "laptop", ["admin"])

    assert KEY.fullmatch(secret)
    assert keys.exist()
    assert keys.find(secret) == made
    assert made.tenant == "acme"
    assert made.scopes == {"speech", "voices"}
    assert made.limits == {"requests_per_minute": 3}
    assert (made.hint, made.state) == (secret[-4:], "active")
    assert keys.list("acme") == keys.list(None) == [made, other]
    last = "A" if secret[-1] != "A" else "B"
    for wrong in (secret[:-1] + last, secret[:-1], f"{secret}x", made.id, "", "\0"):
        assert keys.find(wrong) is None


@pytest.mark.parametrize("key_id", ["key_0", "", "a\0", "\ud800"])
def test_an_unknown_key_is_not_found(keys: ApiKeyStore, key_id: str) -> None:
    for reach in (keys.get, keys.revoke):
        with pytest.raises(NotFound, match="there is no key"):
            reach(None, key_id)


def test_a_database_has_nothing_of_a_key_but_its_digest_and_its_end(keys: ApiKeyStore, database: Database) -> None:
    made, secret = keys.create("acme", "laptop", SCOPES)
    with database.reading() as session:
        stored = str(session.execute(text("SELECT * FROM api_keys")).all())
    random_part = secret.removeprefix(f"kv_{made.id.removeprefix('key_')}_")
    assert len(random_part) == 43
    assert random_part[:8] not in stored
    assert random_part[-8:] not in stored


def test_another_pepper_knows_no_key(database: Database, tmp_path: Path) -> None:
    _, secret = ApiKeyStore(database, tmp_path, "one").create("acme", "laptop", SCOPES)
    assert ApiKeyStore(database, tmp_path, "one").find(secret) is not None
    assert ApiKeyStore(database, tmp_path, "two").find(secret) is None
    assert ApiKeyStore(database, tmp_path).find(secret) is None


def test_a_guess_costs_the_same_whatever_it_begins_with(
    keys: ApiKeyStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, secret = keys.create("acme", "laptop", SCOPES)
    keys.find(secret)  # the pepper is read once
    work: list[str] = []
    real = hmac.new

    def digest(*args: Any) -> hmac.HMAC:
        work.append(f"digest of {len(args[1])}")
        return real(*args)

    def statement(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if "api_keys" in text:
            work.append(text)

    monkeypatch.setattr(hmac, "new", digest)
    event.listen(database.engine, "before_cursor_execute", statement)
    costs = []
    for guess in (f"kv_{made.id.removeprefix('key_')}_{'A' * 43}", f"kv_{'0' * 16}_{'A' * 43}", secret[:-3] + "AAA"):
        work.clear()
        assert keys.find(guess) is None
        costs.append([*work])
    assert costs[0] == costs[1] == costs[2]
    assert len(costs[0]) == 2, "one digest and one lookup"


def test_a_revoked_key_stays_revoked_and_others_cannot_revoke_it(keys: ApiKeyStore) -> None:
    made, secret = keys.create("acme", "laptop", SCOPES)
    for call in (keys.revoke, keys.get):
        with pytest.raises(NotFound, match=made.id):
            call("other", made.id)
    first = keys.revoke("acme", made.id)
    assert first.state == "revoked"
    assert keys.revoke(None, made.id) == first == keys.find(secret) == keys.get("acme", made.id)
    assert keys.list("other") == []


def test_a_key_expires(keys: ApiKeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    made, _ = keys.create("acme", "laptop", SCOPES, soon)
    assert made.state == "active"

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return soon

    monkeypatch.setattr("serving.store.api_keys.datetime", Later)
    assert made.state == "expired"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"tenant": "../acme"}, "tenant"),
        ({"name": ""}, "name"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at"),
    ],
)
def test_what_a_key_cannot_have_is_named(keys: ApiKeyStore, fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        keys.create(**{"tenant": "acme", "name": "laptop", "scopes": ["speech"], **fields})  # type: ignore[arg-type]
    assert refused.value.param == param
    assert not keys.exist()


def test_all_who_make_the_pepper_at_once_get_the_same(tmp_path: Path) -> None:
    start, found = threading.Barrier(8), []

    def make() -> None:
        start.wait()
        found.append(pepper(tmp_path, None))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".pepper"]
    assert (tmp_path / ".pepper").stat().st_mode & 0o777 == 0o600


def test_a_torn_pepper_is_refused_rather_than_used(tmp_path: Path) -> None:
    (tmp_path / ".pepper").write_bytes(b"abc")
    with pytest.raises(StorageError, match="pepper"):
        pepper(tmp_path, None)
    assert pepper(tmp_path, "given") == b"given"
