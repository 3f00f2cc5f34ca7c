from pathlib import Path

import numpy as np
import pytest
import torch

from serving.audio.pcm import Audio
from serving.audio.wav import read_wav
from serving.engines.xtts.checkpoint import LoadedXtts, load_checkpoint
from tests.factories.dataset import cached_dataset
from tests.factories.xtts import cached_checkpoint
from training.dataset.metadata import Clip, Split, read_metadata
from training.xtts.speaker import (
    SpeakerEncoder,
    reference,
    seconds_per_character,
    shuffled,
    similarity,
    speakers,
    voice,
)


@pytest.fixture(scope="module")
def loaded() -> LoadedXtts:
    return load_checkpoint(cached_checkpoint(), torch.device("cpu"))


def clip(id_: str, seconds: float, *, speaker: str = "ada", split: Split = "train", text: str = "ab cd") -> Clip:
    return Clip(id_, Path(f"/nowhere/{id_}.wav"), text, speaker, "en", split, seconds)


def test_the_longest_clips_to_train_on_stand_for_a_speaker_until_there_is_enough() -> None:
    clips = [clip("a", 3), clip("b", 9), clip("c", 5), clip("d", 11, split="val"), clip("e", 11, speaker="bob")]
    assert [chosen.id for chosen in reference(clips, "ada", 100)] == ["b", "c", "a"]
    assert [chosen.id for chosen in reference(clips, "ada", 10)] == ["b", "c"]
    assert [chosen.id for chosen in reference(clips, "ada", 9)] == ["b"]


def test_the_order_of_the_file_chooses_nothing() -> None:
    clips = [clip("b", 5), clip("a", 5), clip("c", 5)]
    assert reference(clips, "ada", 9) == reference(clips[::-1], "ada", 9)


def test_a_speaker_of_the_validation_set_alone_has_a_reference_too() -> None:
    assert [chosen.id for chosen in reference([clip("a", 3, split="val")], "ada", 30)] == ["a"]


def test_speakers_are_sorted_and_named_once() -> None:
    assert speakers([clip("a", 1, speaker="x"), clip("b", 1), clip("c", 1, speaker="x")]) == ["ada", "x"]


def test_the_pace_of_a_speaker_is_all_seconds_by_all_characters() -> None:
    clips = [clip("a", 1, text="a b c d"), clip("b", 5, text="efghij"), clip("c", 99, speaker="bob")]
    assert seconds_per_character(clips, "ada") == pytest.approx(6 / 10)


def test_a_clip_that_joins_does_not_change_the_order_of_the_others() -> None:
    clips = [clip(str(number), 1) for number in range(20)]
    assert [one for one in shuffled(clips) if one.id != "7"] == shuffled([one for one in clips if one.id != "7"])
    assert shuffled(clips) not in (clips, clips[::-1])


def test_the_encoder_is_what_the_model_is_conditioned_by(loaded: LoadedXtts) -> None:
    audio = read_wav(read_metadata(cached_dataset())[0].path)
    own = SpeakerEncoder.of(loaded).embed(audio)
    theirs = loaded.model.get_speaker_embedding(torch.from_numpy(audio.pcm)[None], audio.sample_rate)
    assert own is not None
    assert torch.equal(own, theirs[0, :, 0])
    assert float(own.norm()) == pytest.approx(1, abs=1e-5)


def test_a_voice_is_most_like_itself(loaded: LoadedXtts) -> None:
    encoder, clips = SpeakerEncoder.of(loaded), read_metadata(cached_dataset())
    mean = encoder.mean(clips, "speaker")
    own = similarity(encoder.embed(read_wav(clips[0].path)), mean)
    noise = np.random.default_rng(1).standard_normal(22050).astype(np.float32) * 0.1
    other = similarity(encoder.embed(Audio(noise, 22050)), mean)
    assert own is not None
    assert other is not None
    assert own > other
    assert mean is not None
    assert similarity(mean, mean) == pytest.approx(1, abs=1e-5)


def test_less_than_half_a_second_is_like_nobody(loaded: LoadedXtts) -> None:
    encoder = SpeakerEncoder.of(loaded)
    assert encoder.embed(Audio(np.zeros(5000, np.float32), 22050)) is None
    assert similarity(None, torch.ones(512)) is None


def test_the_voice_is_made_of_the_reference() -> None:
    clips = read_metadata(cached_dataset())
    made = voice(clips, "speaker", 30)
    assert made.references == tuple(one.path for one in reference(clips, "speaker", 30))
    assert made.conditioning is None
    assert made.preset is None
    val = {one.path for one in clips if one.split == "val"}
    assert not val & set(made.references)
