"""Profiles: built-in ones stay, a tenant's own come and go, and a default is one of them or none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError
from sqlalchemy import delete

from serving.errors import Conflict, InvalidRequest, NotFound
from serving.store.database import Database
from serving.store.records import ProfileDefaultRow, ProfileRow
from serving.store.speech_profiles import BUILT_IN, ProfileFields, SpeechProfileStore


@pytest.fixture
def profiles(database: Database) -> SpeechProfileStore:
    return SpeechProfileStore(database)


def fields(name: str = "narrator", **values: object) -> ProfileFields:
    return ProfileFields.model_validate({"name": name, **values})


def test_a_profile_is_found_by_id_and_by_name(profiles: SpeechProfileStore) -> None:
    added = profiles.add("a", fields(temperature=0.5, speed=0.9))
    assert profiles.get("a", added.id) == profiles.get("a", "narrator") == added
    assert (added.manner.temperature, added.manner.speed, added.manner.top_k) == (0.5, 0.9, None)
    assert [profile.name for profile in profiles.list("a")] == [*BUILT_IN, "narrator"]


def test_tenants_see_the_built_in_ones_and_their_own(profiles: SpeechProfileStore) -> None:
    added = profiles.add("a", fields())
    profiles.add("b", fields())  # the same name is another tenant's affair
    assert added.id not in {profile.id for profile in profiles.list("b")}
    for reach in (profiles.get, profiles.delete, profiles.set_default):
        with pytest.raises(NotFound):
            reach("b", added.id)
    with pytest.raises(NotFound):
        profiles.replace("b", added.id, fields("other"))
    assert profiles.get("a", added.id) == added


@pytest.mark.parametrize("name", ["narrator", "balanced", "profile_" + "0" * 24])
def test_a_taken_name_is_a_conflict(profiles: SpeechProfileStore, name: str) -> None:
    profiles.add("a", fields())
    with pytest.raises(Conflict) as refused:
        profiles.add("a", fields(name))
    assert refused.value.param == "name"
    other = profiles.add("a", fields("other"))
    with pytest.raises(Conflict):
        profiles.replace("a", other.id, fields(name))


def test_replacing_gives_all_values_anew(profiles: SpeechProfileStore) -> None:
    added = profiles.add("a", fields(temperature=0.5, top_k=20))
    changed = profiles.replace("a", "narrator", fields("teller", top_p=0.7))
    assert (changed.id, changed.name, changed.manner.temperature, changed.manner.top_p) == (
        added.id,
        "teller",
        None,
        0.7,
    )
    assert profiles.get("a", added.id) == changed


def test_built_in_profiles_never_change(profiles: SpeechProfileStore) -> None:
    with pytest.raises(Conflict, match="built in"):
        profiles.replace("a", "stable", fields())
    with pytest.raises(Conflict, match="built in"):
        profiles.delete("a", "stable")


def test_the_default_is_chosen_by_each_tenant_and_goes_with_its_profile(profiles: SpeechProfileStore) -> None:
    assert profiles.default("a") is None
    profiles.set_default("a", "stable")
    assert profiles.default("a") == BUILT_IN["stable"]
    assert profiles.default("b") is None
    added = profiles.add("a", fields())
    assert profiles.set_default("a", "narrator") == added == profiles.default("a")
    profiles.delete("a", added.id)
    assert profiles.default("a") is None
    profiles.set_default("a", "stable")
    profiles.set_default("a", None)
    assert profiles.default("a") is None


def test_two_first_choices_at_once_are_both_made(profiles: SpeechProfileStore, database: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        with database.session() as session:
            session.add(ProfileDefaultRow(tenant="a", profile_id="balanced"))
            session.flush()
            later = pool.submit(profiles.set_default, "a", "stable")
            with pytest.raises(TimeoutError):
                later.result(0.5)  # it waits for the end of this transaction
        assert later.result(30) == profiles.default("a") == BUILT_IN["stable"]


def test_a_default_that_is_gone_is_none(profiles: SpeechProfileStore, database: Database) -> None:
    added = profiles.add("a", fields())
    profiles.set_default("a", added.id)
    with database.session() as session:
        session.execute(delete(ProfileRow))
    assert profiles.default("a") is None


def test_what_is_chosen_while_it_is_deleted_is_chosen_no_more(profiles: SpeechProfileStore, database: Database) -> None:
    for _ in range(20):
        added = profiles.add("a", fields())
        with ThreadPoolExecutor(2) as pool:
            chosen, deleted = (
                pool.submit(profiles.set_default, "a", added.id),
                pool.submit(profiles.delete, "a", added.id),
            )
            assert deleted.result(30) == added.id
            assert isinstance(chosen.exception(30), NotFound | None)
        with database.reading() as session:
            assert session.get(ProfileDefaultRow, "a") is None


@pytest.mark.parametrize("key", ["nobody", "", "a\0", "\ud800", "%", "x" * 10_000])
def test_an_unknown_profile_is_not_found(profiles: SpeechProfileStore, key: str) -> None:
    profiles.add("a", fields())
    for reach in (
        profiles.get,
        profiles.delete,
        profiles.set_default,
        lambda tenant, key: profiles.replace(tenant, key, fields()),
    ):
        with pytest.raises(NotFound) as refused:
            reach("a", key)
        assert (refused.value.param, refused.value.code) == ("profile", "profile_not_found")


def test_any_spelling_of_a_name_finds_its_profile(profiles: SpeechProfileStore) -> None:
    added = profiles.add("a", fields("Cafe\u0301"))
    assert profiles.get("a", "Caf\u00e9") == profiles.get("a", "Cafe\u0301") == added


def test_a_description_that_no_database_takes_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        fields(description="a\0")
    assert refused.value.param == "description"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", (0.09, 1.01)),
        ("top_k", (9, 101)),
        ("top_p", (0.49, 1.01)),
        ("repetition_penalty", (0.99, 10.1)),
        ("speed", (0.49, 2.01)),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, values: tuple[float, float]) -> None:
    for value in values:
        with pytest.raises(ValidationError, match=name):
            ProfileFields.model_validate({"name": "narrator", name: value})


def test_a_name_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="name"):
        fields("../x")
