"""The pipeline against its steps written out plainly, and what its options do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from safetensors.torch import load_file
from transformers import HubertModel

from serving.audio.pcm import Pcm
from serving.engines.conversion import ConversionOptions
from serving.engines.rvc.content import ContentEncoder
from serving.engines.rvc.pipeline import Job, convert
from serving.engines.rvc.pitch.shaping import coarse
from serving.engines.rvc.synthesizer import Noise
from serving.engines.rvc.voices import LoadedVoice
from serving.engines.rvc.windows import CONTEXT, HOP, Window, WindowCutter
from serving.errors import InvalidRequest
from tests.factories.hubert import cached_content_encoder
from tests.factories.rvc import VARIANTS, Variant, make_model
from tests.serving.engines.rvc.voices_on_disk import make_ingested

CPU = torch.device("cpu")
NO_F0 = Variant("v2", 40_000, f0=False)
BASE = ConversionOptions(index_rate=0.0, protect=0.5, filter_radius=0)


class Contour:
    """A pitch method that hears the same contour in everything: voiced, then voiceless, and so on."""

    name = "contour"

    def f0(self, audio: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        time = torch.arange(audio.shape[1] // HOP + 1)
        return torch.where(time % 50 < 35, 140 + 40 * (time / 15).sin(), 0.0).repeat(len(lengths), 1)


@pytest.fixture(scope="module")
def content() -> ContentEncoder:
    return ContentEncoder.load(cached_content_encoder(), CPU)


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> LoadedVoice:
    return LoadedVoice.load(make_ingested(tmp_path_factory.mktemp("voice")).directory, CPU, "tf32")


def window(seconds: float = 0.8, seed: int = 0) -> Window:
    cutter = WindowCutter()
    noise = np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16000))
    cutter.push((noise * np.hanning(len(noise))).astype(np.float32))
    (only,) = cutter.finish()
    return only


def converted(
    voice: LoadedVoice, content: ContentEncoder, options: ConversionOptions = BASE, *jobs: Job, seed: int = 3
) -> list[Pcm]:
    jobs = jobs or (Job(window(), options, seed),)
    return convert(jobs, voice.synthesizer, voice.retrieval, content, Contour)


def plainly(variant: Variant, loaded: LoadedVoice, job: Job) -> Pcm:
    """RVC's steps, one after the other, on everything, without retrieval; then the context is cut off."""
    audio = scipy.signal.filtfilt(*scipy.signal.butter(5, 48, "high", fs=16000), job.window.pcm).astype(np.float32)
    heard = torch.from_numpy(np.pad(audio, (0, 480), mode="reflect"))[None]
    frames = len(audio) // HOP
    encoder = HubertModel.from_pretrained(cached_content_encoder())
    projection = load_file(cached_content_encoder() / "model.safetensors")
    with torch.no_grad():
        states = encoder(heard, output_hidden_states=True).hidden_states
        features = states[12]
        if variant.version == "v1":
            features = states[9] @ projection["final_proj.weight"].T + projection["final_proj.bias"]
        features = torch.nn.functional.interpolate(features.transpose(1, 2), scale_factor=2).transpose(1, 2)[:, :frames]
        f0 = Contour().f0(heard[:, : len(audio)], [len(audio)])[:, :frames]
        model = make_model(variant)
        noise = Noise.draw(loaded.synthesizer.config, [frames], [job.seed], CPU)
        pitch = (coarse(f0), f0) if variant.f0 else (None, None)
        stages = model(features, [frames], *pitch, [0], noise.prior, noise.source if variant.f0 else None)
    hop = variant.rate // 100
    wav: Pcm = stages.wav.flatten()[CONTEXT * hop : (CONTEXT + job.window.frames) * hop].numpy()
    return wav


def difference(ours: Pcm, theirs: Pcm) -> float:
    assert len(ours) == len(theirs)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_kind_of_voice_converts_as_rvc_s_steps_do(
    variant: Variant, content: ContentEncoder, tmp_path: Path
) -> None:
    loaded = LoadedVoice.load(make_ingested(tmp_path / "v", variant, index=False).directory, CPU, "tf32")
    job = Job(window(0.5), BASE, 3)
    (ours,) = convert([job], loaded.synthesizer, loaded.retrieval, content, Contour)
    assert len(ours) == job.window.frames * variant.rate // 100
    assert difference(ours, plainly(variant, loaded, job)) <= 1e-5


def test_windows_converted_together_are_as_each_alone(voice: LoadedVoice, content: ContentEncoder) -> None:
    jobs = [
        Job(window(0.8, 1), ConversionOptions(), 1),
        Job(window(0.3, 2), ConversionOptions(pitch=5, index_rate=0.2, filter_radius=0), 2),
        Job(window(0.55, 3), ConversionOptions(protect=0.5, speaker=2, formant=1.5), 3),
    ]
    together = converted(voice, content, BASE, *jobs)
    for ours, job in zip(together, jobs, strict=True):
        (alone,) = converted(voice, content, BASE, job)
        # The content features agree to 3e-6; random weights make 1e-4 of that, and the signal's own size of a mistake.
        assert difference(ours, alone) <= 5e-4


def test_retrieval_draws_features_to_the_nearest_vectors(voice: LoadedVoice, content: ContentEncoder) -> None:
    options = dataclasses.replace(BASE, index_rate=1.0)
    (blended,) = converted(voice, content, options)
    (plain,) = converted(voice, content, BASE)
    assert difference(blended, plain) > 1e-2
    assert voice.retrieval is not None
    (without,) = convert([Job(window(), options, 3)], voice.synthesizer, None, content, Contour)
    assert np.array_equal(without, plain)


def test_zero_means_zero(voice: LoadedVoice, content: ContentEncoder) -> None:
    zero = ConversionOptions(
        pitch=0.0, index_rate=0.0, filter_radius=0, rms_mix_rate=0.0, protect=0.0, formant=0.0, speaker=0
    )
    assert np.array_equal(converted(voice, content, zero)[0], converted(voice, content, BASE)[0])


@pytest.mark.parametrize(
    "change",
    [
        {"pitch": 12.0},
        {"pitch": -3.5},
        {"formant": 2.0},
        {"formant": -2.0},
        {"speaker": 3},
        {"filter_radius": 7},
        {"index_rate": 0.5},
    ],
    ids=str,
)
def test_an_option_changes_the_audio_and_not_its_length(
    voice: LoadedVoice, content: ContentEncoder, change: dict[str, Any]
) -> None:
    (usual,) = converted(voice, content)
    (changed,) = converted(voice, content, dataclasses.replace(BASE, **change))
    assert len(changed) == len(usual)
    assert np.isfinite(changed).all()
    assert difference(changed, usual) > 1e-3


def test_protect_is_about_voiceless_sounds_only(voice: LoadedVoice, content: ContentEncoder) -> None:
    drawn = dataclasses.replace(BASE, index_rate=1.0)
    (full,) = converted(voice, content, drawn)
    (protected,) = converted(voice, content, dataclasses.replace(drawn, protect=0.0))
    assert difference(protected, full) > 1e-3

    class Voiced(Contour):
        def f0(self, audio: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
            return super().f0(audio, lengths).clamp(min=100.0)

    jobs = [Job(window(), dataclasses.replace(drawn, protect=protect), 3) for protect in (0.0, 0.5)]
    one, other = (convert([job], voice.synthesizer, voice.retrieval, content, Voiced)[0] for job in jobs)
    assert np.array_equal(one, other)


def test_formants_move_and_pitch_does_not(voice: LoadedVoice) -> None:
    job = Job(window(), dataclasses.replace(BASE, formant=12.0), 3)
    assert job.stretched == 2 * job.frames
    plain, (first, last) = Job(window(), BASE, 3), job.span
    assert plain.span == (CONTEXT, CONTEXT + plain.window.frames)
    assert first < 2 * CONTEXT
    assert last > 2 * (CONTEXT + job.window.frames)


def test_the_seed_decides_what_chance_decides(voice: LoadedVoice, content: ContentEncoder) -> None:
    one, again, other = (converted(voice, content, BASE, seed=seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert difference(other, one) > 1e-3


def test_a_voice_without_pitch_asks_for_none_and_refuses_to_be_transposed(
    content: ContentEncoder, tmp_path: Path
) -> None:
    loaded = LoadedVoice.load(make_ingested(tmp_path / "v", NO_F0).directory, CPU, "tf32")

    def never() -> Contour:
        raise AssertionError

    (pcm,) = convert([Job(window(), ConversionOptions(), 1)], loaded.synthesizer, loaded.retrieval, content, never)
    assert np.isfinite(pcm).all()
    with pytest.raises(InvalidRequest) as caught:
        convert([Job(window(), ConversionOptions(pitch=1), 1)], loaded.synthesizer, None, content, never)
    assert caught.value.param == "pitch"


def test_a_speaker_that_is_not_there_is_named(voice: LoadedVoice, content: ContentEncoder) -> None:
    with pytest.raises(InvalidRequest) as caught:
        converted(voice, content, dataclasses.replace(BASE, speaker=99))
    assert caught.value.param == "speaker"
