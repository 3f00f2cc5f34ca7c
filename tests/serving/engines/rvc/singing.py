"""Voices of the factory with something to sing, for the tests of the synthesizer."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from serving.engines.rvc.checkpoint import RvcCheckpoint, folded
from serving.engines.rvc.configuration import RvcConfig
from serving.engines.rvc.synthesizer import Noise, Synthesizer
from serving.engines.rvc.upload import read_upload
from tests.factories.rvc import USUAL, Size, Variant, make_model, make_voice
from tests.factories.rvc_model import ReferenceVoice, Stages

CPU = torch.device("cpu")


@functools.cache
def checkpoint(variant: Variant = USUAL, size: Size = "tiny") -> RvcCheckpoint:
    with tempfile.TemporaryDirectory() as directory:
        return read_upload(make_voice(Path(directory) / "voice.pth", variant, size))


@functools.cache
def weights(variant: Variant = USUAL) -> dict[str, torch.Tensor]:
    return folded(checkpoint(variant).weights, CPU)


@functools.cache
def synthesizer(variant: Variant = USUAL, size: Size = "tiny", tile: int | None = 256) -> Synthesizer:
    return Synthesizer(checkpoint(variant, size), CPU, tile=tile)


@dataclass(frozen=True)
class Song:
    """What is sung: ``pitch`` and ``f0`` are None for a voice without."""

    features: torch.Tensor
    lengths: list[int]
    pitch: torch.Tensor | None
    f0: torch.Tensor | None
    speakers: list[int]
    noise: Noise

    @classmethod
    def of(cls, config: RvcConfig, lengths: list[int], *, seed: int = 0) -> Song:
        """Every item has its own seed, whatever its neighbours; there is noise behind the shorter ones."""
        frames = max(lengths)
        features = torch.randn(len(lengths), frames, config.features)
        f0 = torch.zeros(len(lengths), frames)
        for at, length in enumerate(lengths):
            chance = torch.Generator().manual_seed(seed + 100 * at)
            features[at, :length] = torch.randn(length, config.features, generator=chance)
            glide = torch.randn(length, generator=chance).cumsum(0) * 20
            f0[at, :length] = (300 + glide).clamp(60, 1000) * (torch.arange(length) % 50 > 12)
        pitch = (f0 / 5).long().clamp(1, 255)
        noise = Noise.draw(config, lengths, [seed + at for at in range(len(lengths))], CPU)
        speakers = [at % config.speakers for at in range(len(lengths))]
        return cls(features, lengths, pitch if config.f0 else None, f0 if config.f0 else None, speakers, noise)

    def alone(self, at: int) -> Song:
        """One item, cut to its length."""
        length = self.lengths[at]
        hop = self.noise.source.shape[1] // self.features.shape[1]
        return Song(
            self.features[at : at + 1, :length],
            [length],
            None if self.pitch is None else self.pitch[at : at + 1, :length],
            None if self.f0 is None else self.f0[at : at + 1, :length],
            [self.speakers[at]],
            Noise(self.noise.prior[at : at + 1, :, :length], self.noise.source[at : at + 1, : length * hop]),
        )

    def sung_by(self, voice: Synthesizer, **options: Any) -> torch.Tensor:
        given: dict[str, Any] = {"noise": self.noise, "speakers": self.speakers, "pitch": self.pitch, "f0": self.f0}
        return voice.infer(self.features, self.lengths, **(given | options))

    def by_reference(self, model: ReferenceVoice, temperature: float = 0.66666) -> Stages:
        stages: Stages = model(
            self.features,
            self.lengths,
            self.pitch,
            self.f0,
            self.speakers,
            self.noise.prior,
            self.noise.source,
            temperature,
        )
        return stages


def song(variant: Variant = USUAL, lengths: tuple[int, ...] = (90,), size: Size = "tiny", seed: int = 0) -> Song:
    return Song.of(checkpoint(variant, size).config, list(lengths), seed=seed)


def reference(variant: Variant = USUAL, size: Size = "tiny") -> ReferenceVoice:
    return make_model(variant, size)


def difference(ours: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative to the greatest value."""
    assert ours.shape == expected.shape
    assert expected.std() > 0.01
    return float((ours - expected).abs().max() / expected.abs().max())
