"""Consents on the volume: kept as they were sent, in order, each for its tenant, and gone when they are deleted."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from serving.errors import Conflict, InvalidRequest, NotFound
from serving.store.voice_consents import CONSENT, RECORDING, VoiceConsent, VoiceConsentStore
from serving.store.volume import TRASH, Volume
from tests.serving.api.listing import files_below


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path)
    volume.create()
    return volume


@pytest.fixture
def consents(volume: Volume) -> VoiceConsentStore:
    return VoiceConsentStore(volume)


def add(consents: VoiceConsentStore, name: str = "Ada Example", tenant: str = "a") -> VoiceConsent:
    return consents.add(tenant, name, "en-US", b"I agree.", 2.0)


def test_a_recording_is_kept_byte_for_byte_with_its_hash(consents: VoiceConsentStore) -> None:
    consent = add(consents)
    directory = consents.directory(consent)
    assert (directory / RECORDING).read_bytes() == b"I agree."
    assert (consent.bytes, consent.sha256) == (8, hashlib.sha256(b"I agree.").hexdigest())
    assert consents.get("a", consent.id) == consent


def test_consents_are_listed_newest_first_and_by_pages(consents: VoiceConsentStore) -> None:
    ids = [add(consents, f"Speaker {number}").id for number in range(5)]
    ids.sort(reverse=True)  # two of one millisecond are in either order
    assert [each.id for each in consents.list("a", 10)] == ids
    assert [each.id for each in consents.list("a", 2, ids[1])] == ids[2:4]
    assert consents.list("a", 10, ids[-1]) == []
    assert consents.list("b", 10) == []


def test_tenants_do_not_see_each_other(consents: VoiceConsentStore) -> None:
    theirs = add(consents, tenant="b")
    for ask in (
        lambda: consents.get("a", theirs.id),
        lambda: consents.rename("a", theirs.id, "mine"),
        lambda: consents.delete("a", theirs.id, lambda _: None),
        lambda: consents.list("a", 10, theirs.id),
    ):
        with pytest.raises(NotFound):
            ask()
    assert consents.get("b", theirs.id) == theirs


@pytest.mark.parametrize("key", ["", "nobody", "../a", "cons_", "cons_" + "g" * 24, "cons_" + "0" * 24, "cons_\0"])
def test_an_unknown_consent_is_not_found(consents: VoiceConsentStore, key: str) -> None:
    with pytest.raises(NotFound) as missing:
        consents.get("a", key, "consent")
    assert missing.value.param == "consent"


@pytest.mark.parametrize(
    ("name", "language", "param"),
    [("", "en", "name"), (" ", "en", "name"), ("a\nb", "en", "name"), ("a" * 65, "en", "name")]
    + [("Ada", tag, "language") for tag in ("", "e", "en_US", "en-", "en US", "en" + "-abcdefgh" * 5)],
)
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(
    consents: VoiceConsentStore, volume: Volume, name: str, language: str, param: str
) -> None:
    before = files_below(volume.root)
    with pytest.raises(InvalidRequest) as refused:
        consents.add("a", name, language, b"I agree.", 2.0)
    assert refused.value.param == param
    assert files_below(volume.root) == before


def test_another_name_leaves_the_recording_as_it_is(consents: VoiceConsentStore) -> None:
    consent = add(consents)
    renamed = consents.rename("a", consent.id, "Ada E. Example")
    assert renamed == consent.model_copy(update={"name": "Ada E. Example"}) == consents.get("a", consent.id)
    assert (consents.directory(consent) / RECORDING).read_bytes() == b"I agree."
    with pytest.raises(InvalidRequest):
        consents.rename("a", consent.id, "\0")


def test_a_deleted_consent_leaves_nothing_not_even_to_a_sweep(consents: VoiceConsentStore, volume: Volume) -> None:
    consent = add(consents)
    consents.delete("a", consent.id, lambda _: None)
    assert not consents.directory(consent).exists()
    assert list((volume.root / TRASH).iterdir()) == []
    with pytest.raises(NotFound):
        consents.get("a", consent.id)


def test_a_consent_that_a_voice_was_made_by_stays(consents: VoiceConsentStore) -> None:
    consent = add(consents)
    with pytest.raises(Conflict, match="voice_1 was made by"):
        consents.delete("a", consent.id, lambda _: "voice_1")
    assert consents.get("a", consent.id) == consent


def test_a_consent_that_a_voice_was_made_by_meanwhile_comes_back(consents: VoiceConsentStore, volume: Volume) -> None:
    consent = add(consents)
    found: list[bool] = []

    def user(_: str) -> str | None:
        found.append(consents.directory(consent).exists())
        return "voice_1" if len(found) == 2 else None

    before = files_below(volume.root)
    with pytest.raises(Conflict, match="voice_1 was made by"):
        consents.delete("a", consent.id, user)
    assert found == [True, False], "asked again when nobody finds the consent"
    assert (consents.get("a", consent.id), files_below(volume.root)) == (consent, before)


def test_of_two_that_delete_a_consent_the_second_does_not_find_it(consents: VoiceConsentStore) -> None:
    consent = add(consents)

    def faster(_: str) -> None:
        consents.delete("a", consent.id, lambda _: None)

    with pytest.raises(NotFound) as missing:
        consents.delete("a", consent.id, faster)
    assert missing.value.param == "consent_id"


def test_a_consent_that_is_deleted_while_it_is_renamed_is_not_found(
    consents: VoiceConsentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent = add(consents)
    read = consents.get

    def get(tenant: str, consent_id: str) -> VoiceConsent:
        monkeypatch.undo()
        found = read(tenant, consent_id)
        consents.delete(tenant, consent_id, lambda _: None)
        return found

    monkeypatch.setattr(consents, "get", get)
    with pytest.raises(NotFound) as missing:
        consents.rename("a", consent.id, "Ada E. Example")
    assert missing.value.param == "consent_id"
    assert not consents.directory(consent).exists()


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff"])
def test_a_file_that_cannot_be_used_is_left_out_and_told_in_the_log(
    consents: VoiceConsentStore, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = add(consents), add(consents)
    (consents.directory(bad) / CONSENT).write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert consents.list("a", 10) == [good]
    assert bad.id in caplog.text


def test_the_file_of_another_consent_is_not_believed(consents: VoiceConsentStore) -> None:
    one, other = add(consents), add(consents, tenant="b")
    (consents.directory(one) / CONSENT).write_bytes((consents.directory(other) / CONSENT).read_bytes())
    with pytest.raises(NotFound):
        consents.get("a", one.id)


def test_elsewhere_a_consent_is_told_in_words(consents: VoiceConsentStore) -> None:
    consent = add(consents)
    told = consents.in_words("a", consent.id)
    assert told is not None
    assert told.startswith("Ada Example agreed in a recording of 2.0 s (en-US)")
    assert consent.sha256 in told
    assert consents.in_words("a", "agreed on paper") == "agreed on paper"
    assert consents.in_words("a", None) is None
    assert consents.in_words("b", consent.id) == f"by the recording {consent.id}, which was lost"
