from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, text
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import Conflict, InvalidRequest, KubevoiceError, NotFound
from serving.store.database import Database
from serving.store.profile import read_profile
from serving.store.quality import QualityReport
from serving.store.records import VoiceRow
from serving.store.voice_consents import VoiceConsentStore
from serving.store.voices import VoiceProfile, VoiceStore
from serving.store.volume import STAGING, Volume
from tests.serving.store import writers
from tests.serving.store.test_volume import TRICKS, in_small_filesystem


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path / "data")
    volume.create()
    return volume


@pytest.fixture
def store(volume: Volume, database: Database) -> VoiceStore:
    return VoiceStore(volume, database)


def add(store: VoiceStore, name: str = "Nova", tenant: str = "acme") -> VoiceProfile:
    return store.add(tenant=tenant, name=name, references=[b"RIFF one", b"RIFF two"], reference_seconds=3.5)


def voice_directories(volume: Volume) -> list[str]:
    return sorted(path.name for path in volume.root.glob("voices/*/*"))


def test_an_added_voice_has_its_references_on_the_volume(store: VoiceStore, volume: Volume) -> None:
    consent = VoiceConsentStore(volume).add("acme", "Zoë Example", "en", b"I agree.", 2.0).id
    before = datetime.now(UTC)
    voice = store.add(
        tenant="acme",
        name="Zoë (warm)",
        references=[b"RIFF one", b"RIFF two"],
        reference_seconds=3.5,
        language="en",
        description="warm",
        consent=consent,
    )
    assert (voice.tenant, voice.name, voice.language) == ("acme", "Zoë (warm)", "en")
    assert (voice.description, voice.consent, voice.reference_seconds) == ("warm", consent, 3.5)
    assert before <= voice.created_at <= datetime.now(UTC)
    assert voice.created_at.utcoffset() == timedelta(0)
    assert [path.read_bytes() for path in voice.references] == [b"RIFF one", b"RIFF two"]
    assert voice.conditioning.is_dir()
    assert voice.conditioning.parent == volume.voice("acme", voice.id)
    assert list((volume.root / STAGING).iterdir()) == []


def test_a_voice_is_found_by_id_and_by_any_spelling_of_its_name(store: VoiceStore) -> None:
    voice = add(store, name="Zo\u00eb")
    for key in (voice.id, "Zo\u00eb", "Zoe\u0308"):
        assert store.get("acme", key) == voice


@pytest.mark.parametrize(
    "key", ["nova", "Nova ", "", "voice_" + "0" * 24, "a\0b", "\ud800", "../x", "%", "x" * 100_000]
)
def test_an_unknown_voice_is_not_found(key: str, store: VoiceStore) -> None:
    add(store)
    for use in (store.get, store.delete):
        with pytest.raises(NotFound) as caught:
            use("acme", key)
        assert caught.value.param == "voice"
        assert len(caught.value.message) < 1000
    assert len(store.list("acme")) == 1


def test_tenants_do_not_see_each_other(store: VoiceStore) -> None:
    theirs = add(store, tenant="other")
    ours = add(store)
    assert store.list("acme") == [ours]
    assert store.list("other") == [theirs]
    assert store.list("nobody") == []
    for use in (store.get, store.delete):
        with pytest.raises(NotFound):
            use("acme", theirs.id)
    assert store.get("other", "Nova") == theirs


@pytest.mark.parametrize("tenant", TRICKS)
def test_a_tenant_that_is_no_path_component_is_refused(tenant: str, store: VoiceStore, volume: Volume) -> None:
    for use in (lambda: add(store, tenant=tenant), lambda: store.get(tenant, "Nova"), lambda: store.list(tenant)):
        with pytest.raises(InvalidRequest) as caught:
            use()
        assert caught.value.param == "tenant"
    assert voice_directories(volume) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a\0b", "x" * 65])
def test_a_name_that_cannot_be_used_is_refused_and_leaves_nothing(name: str, store: VoiceStore, volume: Volume) -> None:
    with pytest.raises(InvalidRequest) as caught:
        add(store, name=name)
    assert caught.value.param == "name"
    assert writers.files_below(volume.root) == []


def test_voices_are_listed_oldest_first(store: VoiceStore) -> None:
    names = ["b", "c", "a"]
    for name in names:
        add(store, name=name)
    assert [voice.name for voice in store.list("acme")] == names


def test_a_name_is_taken_until_its_voice_is_deleted(store: VoiceStore, volume: Volume) -> None:
    voice = add(store)
    with pytest.raises(Conflict) as caught:
        add(store)
    assert caught.value.param == "name"
    assert voice_directories(volume) == [voice.id]
    store.delete("acme", "Nova")
    assert store.get("acme", add(store).id).name == "Nova"


def test_voices_are_read_while_a_writer_is_at_work(store: VoiceStore, database: Database) -> None:
    voice = add(store)

    def read() -> tuple[VoiceProfile, list[VoiceProfile]]:
        return store.get("acme", "Nova"), store.list("acme")

    with ThreadPoolExecutor(1) as pool, database.session() as session:
        session.execute(text("UPDATE voices SET language = 'fr'"))
        assert pool.submit(read).result(timeout=10) == (voice, [voice])


def test_a_deleted_voice_is_gone_while_an_open_reader_finishes(store: VoiceStore, volume: Volume) -> None:
    voice = add(store)
    with voice.references[0].open("rb") as reader:
        store.delete("acme", voice.id)
        assert voice_directories(volume) == []
        assert store.list("acme") == []
        assert reader.read() == b"RIFF one"
    assert writers.files_below(volume.root) == []


def test_many_deletions_of_one_voice_at_once_delete_it(store: VoiceStore, volume: Volume) -> None:
    voice = add(store)

    def remove(_: int) -> str:
        try:
            store.delete("acme", voice.id)
        except NotFound:
            return "not found"
        return "deleted"

    with ThreadPoolExecutor(4) as pool:
        assert "deleted" in list(pool.map(remove, range(4)))
    assert remove(4) == "not found"
    assert writers.files_below(volume.root) == []


def test_of_many_threads_adding_one_name_exactly_one_wins(store: VoiceStore, volume: Volume) -> None:
    def try_to_add(_: int) -> str | None:
        try:
            return add(store).id
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        winners = [voice_id for voice_id in pool.map(try_to_add, range(8)) if voice_id]
    assert [voice.id for voice in store.list("acme")] == winners
    assert voice_directories(volume) == winners
    assert len(winners) == 1


def test_of_many_processes_adding_one_name_exactly_one_wins(
    store: VoiceStore, volume: Volume, database: Database
) -> None:
    url = database.url.render_as_string(hide_password=False)
    results = writers.run_together([writers.start(writers.add, volume.root, url) for _ in range(3)])
    assert sorted(str(result["error"]) for result in results) == ["Conflict", "Conflict", "None"]
    (voice,) = store.list("acme")
    assert voice_directories(volume) == [voice.id]
    volume.sweep(0)
    assert writers.files_below(volume.root) == [
        f"voices/acme/{voice.id}/profile.json",
        f"voices/acme/{voice.id}/reference/0.wav",
    ]


def test_a_voice_whose_row_cannot_be_written_is_not_left_on_the_volume(
    store: VoiceStore, volume: Volume, database: Database
) -> None:
    with database.session() as session:
        session.execute(text("ALTER TABLE voices RENAME COLUMN consent TO renamed"))
    with pytest.raises((KubevoiceError, SQLAlchemyError)):
        add(store)
    assert voice_directories(volume) == []


def test_a_voice_that_does_not_fit_on_the_volume_leaves_nothing(
    store: VoiceStore, database: Database, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    prefix = in_small_filesystem(small)
    url = database.url.render_as_string(hide_password=False)
    (result,) = writers.run_together([writers.start(writers.add, small, url, prefix=prefix)])
    assert result["error"] == "StorageError"
    assert "No space left on device" in result["message"]
    assert result["files"] == []
    assert store.list("acme") == []


def test_reindex_brings_back_every_voice_of_a_lost_database(
    store: VoiceStore, volume: Volume, database: Database
) -> None:
    voices = [add(store, name=name) for name in ("b", "a")]
    theirs = add(store, tenant="other")
    with database.session() as session:
        session.execute(delete(VoiceRow))
    assert store.list("acme") == []
    assert store.reindex() == 3
    assert store.list("acme") == voices
    assert store.list("other") == [theirs]
    assert store.reindex() == 3


def test_reindex_drops_the_rows_of_lost_directories(store: VoiceStore, volume: Volume) -> None:
    lost, kept = add(store, name="lost"), add(store, name="kept")
    shutil.rmtree(volume.voice("acme", lost.id))
    assert store.reindex() == 1
    assert store.list("acme") == [kept]


def test_reindex_leaves_out_what_it_cannot_use(store: VoiceStore, volume: Volume, database: Database) -> None:
    torn, whole = add(store, name="torn"), add(store, name="whole")
    (volume.voice("acme", torn.id) / "profile.json").write_text('{"id": "voice_')
    (volume.root / "voices" / "acme" / "stray").mkdir()
    (volume.root / "voices" / "README").write_text("notes")
    with database.session() as session:
        session.execute(delete(VoiceRow))
    assert store.reindex() == 1
    assert store.list("acme") == [whole]


def test_reindex_keeps_the_voice_that_has_a_name_and_leaves_out_another(
    store: VoiceStore, volume: Volume, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    orphan = add(store)
    with database.session() as session:
        session.execute(delete(VoiceRow))
    voice = add(store)
    assert store.reindex() == 1
    assert store.get("acme", "Nova") == voice
    assert orphan.id in caplog.text


def test_a_reindex_that_is_faster_than_the_adding_does_not_cost_the_voice(volume: Volume, database: Database) -> None:
    class ReindexedVolume(Volume):
        @contextmanager
        def publish(self, target: Path) -> Iterator[Path]:
            with super().publish(target) as staging:
                yield staging
            assert VoiceStore(volume, database).reindex() == 1

    store = VoiceStore(ReindexedVolume(volume.root), database)
    voice = add(store)
    assert store.list("acme") == [voice]
    assert voice_directories(volume) == [voice.id]


def test_adding_deleting_and_reindexing_at_once_ends_in_one_truth(store: VoiceStore, volume: Volume) -> None:
    def work(index: int) -> None:
        voice = add(store, name=f"voice {index}")
        store.reindex()
        if index % 2:
            store.delete("acme", voice.id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    store.reindex()
    assert sorted(voice.id for voice in store.list("acme")) == voice_directories(volume)
    assert len(voice_directories(volume)) == 4


def test_a_report_is_kept_in_both_places_and_not_for_a_voice_that_is_gone(store: VoiceStore, volume: Volume) -> None:
    report = QualityReport(verdict="warn", seconds=3.5, speech_seconds=2.0, checks=(), recordings=())
    voice = add(store)
    assert voice.quality is None
    judged = store.set_quality(voice, report)
    assert store.get("acme", voice.id) == judged
    assert judged.quality == report
    file = read_profile(volume.voice("acme", voice.id) / "profile.json")
    assert file is not None
    assert file.quality == report

    store.delete("acme", voice.id)
    with pytest.raises(NotFound):
        store.set_quality(voice, report)
    assert voice_directories(volume) == []


def test_a_voice_whose_consent_is_deleted_while_it_is_added_is_not_found_and_leaves_nothing(
    volume: Volume, database: Database
) -> None:
    consents = VoiceConsentStore(volume)
    consent = consents.add("acme", "Ada Example", "en", b"I agree.", 2.0).id

    class SlowVolume(Volume):
        @contextmanager
        def publish(self, target: Path) -> Iterator[Path]:
            with super().publish(target) as staging:
                yield staging
            consents.delete("acme", consent, lambda found: voices.with_consent("acme", found))

    voices = VoiceStore(SlowVolume(volume.root), database)
    with pytest.raises(NotFound) as missing:
        voices.add(tenant="acme", name="Ada", references=[b"RIFF"], reference_seconds=3.5, consent=consent)
    assert missing.value.param == "consent"
    assert (voices.list("acme"), voice_directories(volume)) == ([], [])


def test_no_voice_is_left_without_its_consent_by_adding_and_deleting_at_once(store: VoiceStore, volume: Volume) -> None:
    consents = VoiceConsentStore(volume)
    ids = [consents.add("acme", "Ada Example", "en", b"I agree.", 2.0).id for _ in range(8)]

    def make(consent: str) -> None:
        with suppress(NotFound):
            store.add(tenant="acme", name=consent, references=[b"RIFF"], reference_seconds=3.5, consent=consent)

    def forget(consent: str) -> None:
        with suppress(Conflict):
            consents.delete("acme", consent, lambda found: store.with_consent("acme", found))

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(work, consent) for consent in ids for work in (make, forget)]
        for each in done:
            each.result()
    kept = {consent.id for consent in consents.list("acme", 10)}
    made = store.list("acme")
    assert {voice.consent for voice in made} <= kept
    assert voice_directories(volume) == sorted(voice.id for voice in made)
