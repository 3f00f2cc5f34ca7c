"""Which engine serves, and which voice a name means."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.engines.base import EngineInfo, Voice
from serving.engines.espeak import EspeakEngine
from serving.errors import InvalidRequest, KubevoiceError, ModelFilesError, NotFound
from serving.selection import (
    OPENAI_VOICES,
    choose_engine,
    normal_language,
    open_engine,
    reserved_names,
    resolve_voice,
    voice_of,
)
from serving.settings import Settings
from serving.settings_groups import VoiceSettings, XttsSettings
from serving.store.models import ModelStore
from serving.store.voices import VoiceProfile, VoiceStore
from serving.store.volume import Volume

INFO = EngineInfo("x", "x", "1", 24000, ("en",), ("Ana", "Bo", "Cy"), True, "cpu")
BARE = dataclasses.replace(INFO, presets=())


def models(settings: Settings) -> ModelStore:
    volume = Volume(settings.data)
    volume.create()
    return ModelStore(volume)


def publish(store: ModelStore) -> None:
    with store.publish("xtts", "xtts_v2", "r1", {}) as staging:
        for name in ("config.json", "vocab.json", "model.pth"):
            (staging / name).write_text("{}")


def add(store: VoiceStore, name: str = "Ada") -> VoiceProfile:
    return store.add(tenant="default", name=name, references=[b"RIFF"], reference_seconds=1.0, language="de")


def test_auto_takes_espeak_without_weights_and_says_what_is_missing(settings: Settings) -> None:
    choice = choose_engine(settings, models(settings))

    assert (choice.engine, choice.weights) == ("espeak", None)
    assert "kubevoice models pull" in choice.reason


def test_auto_takes_xtts_once_its_weights_are_there(settings: Settings) -> None:
    store = models(settings)
    publish(store)
    choice = choose_engine(settings, store)

    assert choice.engine == "xtts"
    assert choice.weights is not None
    assert choice.weights.revision == "r1"


def test_weights_of_another_model_do_not_count(settings: Settings) -> None:
    store = models(settings)
    publish(store)
    settings = settings.model_copy(update={"xtts": XttsSettings(model="tuned")})

    assert choose_engine(settings, store).engine == "espeak"


def test_xtts_never_falls_back(settings: Settings) -> None:
    with pytest.raises(ModelFilesError, match="kubevoice models pull"):
        choose_engine(settings.model_copy(update={"engine": "xtts"}), models(settings))


def dangle(model: Path) -> None:
    (model / "current").write_text("gone\n")


def tear(model: Path) -> None:
    (model / "r1" / "model.pth").write_text("{")


def empty(model: Path) -> None:
    for path in (model / "r1").iterdir():
        path.unlink()


@pytest.mark.parametrize(("damage", "named"), [(dangle, "current"), (tear, "model.pth"), (empty, "config.json")])
def test_weights_that_cannot_be_used_are_named_by_auto_and_refused_by_xtts(
    settings: Settings, damage: Callable[[Path], None], named: str
) -> None:
    store = models(settings)
    publish(store)
    directory = settings.data / "models" / "xtts" / "xtts_v2"
    damage(directory)
    choice = choose_engine(settings, store)

    assert (choice.engine, choice.weights) == ("espeak", None)
    assert named in choice.reason
    with pytest.raises(ModelFilesError, match=named):
        choose_engine(settings.model_copy(update={"engine": "xtts"}), store)


async def test_espeak_is_taken_when_asked_for_even_with_weights(settings: Settings) -> None:
    store = models(settings)
    publish(store)
    engine = open_engine(settings.model_copy(update={"engine": "espeak"}), store)

    assert isinstance(engine, EspeakEngine)
    await engine.close()


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("default", "Ana"),
        ("Bo", "Bo"),
        ("bo", "Bo"),
        ("alloy", "Ana"),
        ("ash", "Bo"),
        ("ballad", "Cy"),
        ("coral", "Ana"),
        ("narrator", "Cy"),
        ("sage", "Bo"),
    ],
)
def test_names_that_stand_for_presets(store: VoiceStore, name: str, preset: str) -> None:
    settings = VoiceSettings(aliases={"narrator": "Cy", "sage": "bo"})

    voice = resolve_voice(name, info=INFO, settings=settings, voices=store, tenant="a")
    assert voice == Voice(preset, preset=preset, pronunciations=store.preset("a", preset).pronunciations)


def test_every_openai_name_means_something_on_a_model_with_one_preset(store: VoiceStore) -> None:
    info = dataclasses.replace(INFO, presets=("only",))

    for name in OPENAI_VOICES:
        assert resolve_voice(name, info=info, settings=VoiceSettings(), voices=store).preset == "only"


def test_a_stored_voice_is_found_by_id_name_alias_and_as_the_default(store: VoiceStore) -> None:
    profile = add(store)
    settings = VoiceSettings(default="my voice", aliases={"my voice": "Ada", "alloy": profile.id})

    for name in (profile.id, "Ada", "my voice", "alloy", "default"):
        voice = resolve_voice(name, info=BARE, settings=settings, voices=store)
        assert voice == voice_of(profile), name
    assert voice_of(profile).references == profile.references
    assert voice_of(profile).language == "de"
    assert voice_of(profile).conditioning == profile.conditioning


def test_another_tenants_voice_does_not_exist(store: VoiceStore) -> None:
    profile = add(store)

    with pytest.raises(NotFound):
        resolve_voice(profile.id, info=INFO, settings=VoiceSettings(), voices=store, tenant="other")


@pytest.mark.parametrize("name", ["nobody", "Alloy", "../Ada", "", "a\0b", "\ud800"])
def test_an_unknown_name_is_not_found_and_names_the_field(store: VoiceStore, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        resolve_voice(name, info=INFO, settings=VoiceSettings(), voices=store)

    assert (caught.value.param, caught.value.code) == ("voice", "voice_not_found")


@pytest.mark.parametrize("name", ["default", "alloy"])
def test_on_a_model_without_presets_built_in_names_say_what_to_do(store: VoiceStore, name: str) -> None:
    with pytest.raises(InvalidRequest, match="upload a voice") as caught:
        resolve_voice(name, info=BARE, settings=VoiceSettings(), voices=store)

    assert caught.value.param == "voice"


@pytest.mark.parametrize("aliases", [{"a": "b", "b": "a"}, {"default": "default"}, {"a": "a"}])
def test_aliases_in_a_circle_end(store: VoiceStore, aliases: dict[str, str]) -> None:
    for name in aliases:
        with pytest.raises(KubevoiceError) as caught:
            resolve_voice(name, info=BARE, settings=VoiceSettings(aliases=aliases), voices=store)
        assert caught.value.param == "voice"


def test_reserved_are_all_names_that_mean_something_already() -> None:
    reserved = reserved_names(INFO, VoiceSettings(aliases={"Narrator": "Ana"}))

    assert reserved == {"default", *OPENAI_VOICES, "ana", "bo", "cy", "narrator"}


@pytest.mark.parametrize(
    ("code", "normal"),
    [
        ("en", "en"), ("EN", "en"), ("en-GB", "en-GB"), ("EN-gb", "en-gb"), ("pt-br", "pt-BR"),
        ("zh-Hans-CN", "zh-Hans-CN"), ("en-", "en"), ("en-\0", "en"), ("en-a b", "en"),
    ],
)  # fmt: skip
def test_a_language_keeps_its_region_which_says_how_texts_are_read(code: str, normal: str) -> None:
    info = dataclasses.replace(INFO, languages=("en", "pt-BR", "zh"))
    assert normal_language(code, info) == normal


@pytest.mark.parametrize("code", ["zh", "zh-cn", "ZH-CN", "zh-TW"])
def test_a_language_that_the_model_knows_of_one_region_is_that(code: str) -> None:
    assert normal_language(code, dataclasses.replace(INFO, languages=("en", "zh-cn"))) == "zh-cn"


@pytest.mark.parametrize("code", ["", "xx", "xx-en", "-en", "english"])
def test_a_language_that_is_not_spoken_is_refused_by_its_field(code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normal_language(code, INFO)
    assert caught.value.param == "language"
