"""The speakers of a dataset: the clips that stand for them, and how much audio sounds like them to XTTS."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torchaudio

from serving.audio.pcm import Audio
from serving.audio.wav import read_wav
from serving.engines.base import Voice
from serving.engines.xtts.checkpoint import LoadedXtts
from training.dataset.metadata import Clip

MEAN_CLIPS = 16
"""Clips whose mean embedding stands for a speaker; more change its direction by less than the clips differ."""

SHORTEST_S = 0.5
"""The speaker encoder makes nothing of less audio."""

ENCODER_RATE = 16000


def speakers(clips: Sequence[Clip]) -> list[str]:
    """The names of the speakers, sorted."""
    return sorted({clip.speaker for clip in clips})


def reference(clips: Sequence[Clip], speaker: str, seconds: float) -> list[Clip]:
    """The clips that condition the model on ``speaker``: the longest to train on until they fill ``seconds``.

    A speaker with clips for validation only is taken from these.
    """
    chosen: list[Clip] = []
    for clip in sorted(_own(clips, speaker), key=lambda clip: (-clip.seconds, clip.id)):
        if sum(clip.seconds for clip in chosen) >= seconds:
            break
        chosen.append(clip)
    return chosen


def voice(clips: Sequence[Clip], speaker: str, seconds: float) -> Voice:
    """The voice that ``reference`` makes; the engine keeps nothing of it on the volume."""
    return Voice(speaker, references=tuple(clip.path for clip in reference(clips, speaker, seconds)))


def seconds_per_character(clips: Sequence[Clip], speaker: str) -> float:
    """The pace of ``speaker``: all seconds of its clips by all characters, without spaces."""
    own = _own(clips, speaker)
    return sum(clip.seconds for clip in own) / sum(len("".join(clip.text.split())) for clip in own)


def shuffled(clips: Sequence[Clip]) -> list[Clip]:
    """The clips in an order that has nothing to do with what is in them and that clips which join do not change."""
    return sorted(clips, key=lambda clip: hashlib.sha256(clip.id.encode()).digest())


@dataclass(frozen=True, slots=True)
class SpeakerEncoder:
    """XTTS's own, which training does not change; it knows of a voice what the decoder is conditioned on."""

    module: torch.nn.Module
    device: torch.device

    @classmethod
    def of(cls, loaded: LoadedXtts) -> SpeakerEncoder:
        return cls(loaded.model.hifigan_decoder.speaker_encoder, loaded.device)

    def embed(self, audio: Audio) -> torch.Tensor | None:
        """Unit vector, float32 [512] on the CPU, as coqui's ``get_speaker_embedding``; None for less than 0.5 s."""
        if audio.seconds < SHORTEST_S:
            return None
        with torch.inference_mode():
            pcm = torch.from_numpy(audio.pcm)[None]
            pcm = torchaudio.functional.resample(pcm, audio.sample_rate, ENCODER_RATE).to(self.device)
            embedding: torch.Tensor = self.module.forward(pcm, l2_norm=True)[0].cpu()
        return embedding

    def mean(self, clips: Sequence[Clip], speaker: str) -> torch.Tensor | None:
        """The direction of the speaker's clips, unit vector float32 [512]; None where all are too short."""
        paths: list[Path] = [clip.path for clip in shuffled(_own(clips, speaker))[:MEAN_CLIPS]]
        found = [embedding for path in paths if (embedding := self.embed(read_wav(path))) is not None]
        return torch.nn.functional.normalize(torch.stack(found).mean(0), dim=0) if found else None


def similarity(embedding: torch.Tensor | None, mean: torch.Tensor | None) -> float | None:
    """Cosine of two unit vectors, -1..1; None where one is missing."""
    return None if embedding is None or mean is None else float(embedding @ mean)


def _own(clips: Sequence[Clip], speaker: str) -> list[Clip]:
    """The speaker's clips to train on, or those it has."""
    own = [clip for clip in clips if clip.speaker == speaker]
    return [clip for clip in own if clip.split == "train"] or own
