import asyncio
import gc
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.audio.wav import read_wav, wav_bytes
from serving.engines.base import SpeechRequest
from serving.engines.xtts import XttsEngine
from serving.engines.xtts.decoder import Decoder
from serving.errors import ModelFilesError, StorageError
from tests.factories.dataset import cached_dataset
from tests.factories.xtts import cached_checkpoint
from training.dataset.metadata import Clip, read_metadata
from training.xtts.base import Base, load_base
from training.xtts.lora import merged_state
from training.xtts.samples import Sample, choose, speak
from training.xtts.speaker import voice

CPU = torch.device("cpu")
STOP = 1025


@pytest.fixture
def base() -> Base:
    return load_base(cached_checkpoint(), CPU)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """A few short ones: what is spoken takes the time."""
    clips = sorted(read_metadata(cached_dataset()), key=lambda clip: clip.seconds)
    val = [replace(clip, split="val", text=clip.text[:30]) for clip in clips[:2]]
    return val + [replace(clip, split="train") for clip in clips[2:6]]


def spoken(
    base: Base, clips: list[Clip], folder: Path, step: int = 0, *, count: int = 1, seed: int = 1
) -> list[Sample]:
    return speak(base, merged_state(base.gpt), clips, folder, step, seed, count=count)


def test_the_texts_are_the_same_at_every_step_and_of_every_speaker(clips: list[Clip]) -> None:
    val = [replace(clips[0], id=f"{speaker}{number}", speaker=speaker) for speaker in "ab" for number in range(4)]
    chosen = choose(val, 4)
    assert sorted(clip.speaker for clip in chosen) == ["a", "a", "b", "b"]
    assert choose([*clips[2:], *val[::-1]], 4) == chosen
    assert choose(val, 2) == chosen[:2]
    assert choose(clips[2:], 3) == []


def test_a_dataset_without_validation_clips_has_no_samples(base: Base, clips: list[Clip], tmp_path: Path) -> None:
    assert spoken(base, clips[2:], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_samples_are_what_the_serving_engine_says_with_these_weights(
    base: Base, clips: list[Clip], tmp_path: Path
) -> None:
    (sample,) = spoken(base, clips, tmp_path, 7)
    engine = XttsEngine.load(cached_checkpoint(), model="tiny", revision="r1", device="cpu")

    async def serve() -> bytes:
        speaker = voice(clips, "speaker", 30)
        audio = await engine.synthesize(SpeechRequest(sample.clip.text, speaker, "en", seed=1))
        await engine.close()
        return wav_bytes(audio.pcm, audio.sample_rate)

    folder = tmp_path / "step-7"
    assert (folder / sample.file).read_bytes() == asyncio.run(serve())
    assert sorted(path.name for path in folder.iterdir()) == sorted([sample.file, "samples.json"])
    (facts,) = json.loads((folder / "samples.json").read_text())
    assert facts == sample.facts()
    assert (facts["text"], facts["step"], facts["ended"]) == (sample.clip.text, 7, True)
    written = read_wav(folder / sample.file)
    assert written.sample_rate == 24000
    assert facts["spoken"]["audio"]["seconds"] == pytest.approx(written.seconds)
    assert facts["recorded"]["audio"]["seconds"] == pytest.approx(sample.clip.seconds, abs=1e-3)
    assert -1 <= facts["spoken"]["relative_speaker_similarity"] <= 1
    assert facts["spoken"]["text"] is None


def test_equal_weights_say_the_same_and_others_do_not(base: Base, clips: list[Clip], tmp_path: Path) -> None:
    first, again = spoken(base, clips, tmp_path, 0), spoken(base, clips, tmp_path, 1)
    assert np.array_equal(first[0].speech.pcm, again[0].speech.pcm)
    with torch.no_grad():
        base.gpt.mel_embedding.weight.mul_(0.5)
    changed = spoken(base, clips, tmp_path, 2)
    assert not np.array_equal(first[0].speech.pcm, changed[0].speech.pcm)
    assert [sample.clip for sample in changed] == [sample.clip for sample in first]


def test_a_step_that_is_repeated_replaces_its_samples(base: Base, clips: list[Clip], tmp_path: Path) -> None:
    (tmp_path / "step-0").mkdir()
    (tmp_path / "step-0" / "old.wav").touch()
    samples = spoken(base, clips, tmp_path, count=2)
    assert len(samples) == 2
    wanted = sorted(["samples.json", *(sample.file for sample in samples)])
    assert sorted(path.name for path in (tmp_path / "step-0").iterdir()) == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["step-0"]


def test_speech_that_does_not_end_is_a_stop_failure(base: Base, clips: list[Clip], tmp_path: Path) -> None:
    with torch.no_grad():
        base.gpt.mel_head.bias[STOP] = -1e4
    short = [replace(clip, text="Hi.") for clip in clips]
    (sample,) = spoken(base, short, tmp_path)
    assert not sample.ended
    assert sample.spoken.audio.seconds_per_character > sample.speaker_pace


def test_a_text_that_cannot_be_spoken_is_left_out(
    base: Base, clips: list[Clip], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = replace(choose(clips, 2)[0], language="xx")
    samples = spoken(base, [bad if clip.id == bad.id else clip for clip in clips], tmp_path, count=2)
    assert [sample.clip.id for sample in samples] == [clip.id for clip in choose(clips, 2) if clip.id != bad.id]
    assert f"clip {bad.id} was not spoken" in caplog.text


def test_weights_that_are_no_numbers_are_refused(base: Base, clips: list[Clip], tmp_path: Path) -> None:
    with torch.no_grad():
        base.gpt.mel_head.bias[0] = torch.inf
    with pytest.raises(ModelFilesError, match=r"gpt\.mel_head\.bias is not finite after training"):
        spoken(base, clips, tmp_path)


def test_a_volume_that_refuses_is_told_as_such(base: Base, clips: list[Clip], tmp_path: Path) -> None:
    (tmp_path / "samples").touch()
    with pytest.raises(StorageError, match="step-0"):
        spoken(base, clips, tmp_path / "samples")


def decoders() -> list[Decoder]:
    """All in this process, whether anything refers to them or not."""
    return [item for item in gc.get_objects() if type(item) is Decoder]


def test_training_goes_on_as_if_nothing_had_been_said(base: Base, clips: list[Clip], tmp_path: Path) -> None:
    state, python = torch.get_rng_state(), random.getstate()
    weights = {name: tensor.clone() for name, tensor in base.gpt.state_dict().items()}
    engines = {id(decoder) for decoder in decoders()}
    assert spoken(base, clips, tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    assert python == random.getstate()
    assert base.gpt.training
    assert all(parameter.requires_grad for parameter in base.gpt.parameters())
    assert base.gpt.state_dict().keys() == weights.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in base.gpt.state_dict().items())
    assert {id(decoder) for decoder in decoders()} <= engines  # its copy of the model is gone
