"""From windows of a recording to the same in another voice: content, retrieval, pitch, synthesizer.

The steps and their numbers are those of RVC's ``pipeline.py``, with its defects left out: the output has the length of
the input, and nothing is computed for the second of context on each side that only the networks need to see.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.signal
import soxr
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from serving.audio.pcm import Pcm
from serving.engines.conversion import ConversionOptions
from serving.engines.rvc.content import ContentEncoder
from serving.engines.rvc.layers import Span
from serving.engines.rvc.pitch.base import PitchMethod
from serving.engines.rvc.pitch.shaping import coarse, smooth, transpose
from serving.engines.rvc.retrieval import Retrieval
from serving.engines.rvc.synthesizer import Noise, Synthesizer
from serving.engines.rvc.windows import CONTEXT, HOP, RATE, Window
from serving.errors import InvalidRequest

HIGH_PASS = scipy.signal.butter(5, 48, "high", fs=RATE)
"""Coefficients of the filter before everything: order 5, 48 Hz, applied forwards and backwards."""

ENOUGH = 480
"""Samples behind a window, mirrored, without which the content encoder has up to two frames too few."""

PROTECTS = 0.5
"""From here on ``protect`` does nothing."""

MARGIN = 4
"""Frames on each side of a stretched span, of which resampling needs a part."""


@dataclass(frozen=True, slots=True)
class Job:
    """A window to convert."""

    window: Window
    options: ConversionOptions
    seed: int

    @property
    def frames(self) -> int:
        """With the context on both sides."""
        return self.window.frames + 2 * CONTEXT

    @property
    def stretched(self) -> int:
        """Frames that are synthesized: so many more that formants are as high as asked, played back in the time."""
        return max(1, round(self.frames * 2 ** (self.options.formant / 12)))

    @property
    def stretch(self) -> float:
        return self.stretched / self.frames

    @property
    def span(self) -> Span:
        """The stretched frames to decode."""
        first, last = CONTEXT * self.stretch, (CONTEXT + self.window.frames) * self.stretch
        if self.stretch == 1:
            return CONTEXT, CONTEXT + self.window.frames
        return max(0, math.floor(first) - MARGIN), min(self.stretched, math.ceil(last) + MARGIN)


def convert(
    jobs: Sequence[Job],
    synthesizer: Synthesizer,
    retrieval: Retrieval | None,
    content: ContentEncoder,
    pitch: Callable[[], PitchMethod],
) -> list[Pcm]:
    """The windows of ``jobs`` in one voice: float32 [window.frames * hop] each.

    ``pitch`` opens the method that they share; it is not called for a voice without pitch. Raises InvalidRequest for
    options that the voice cannot follow.
    """
    for job in jobs:
        check(job.options, synthesizer)
    heard = [torch.from_numpy(_filtered(job.window.pcm)) for job in jobs]
    spoken = _content(heard, content, synthesizer)
    features = [_held(item, job.frames) for item, job in zip(spoken, jobs, strict=True)]
    blended = features
    if retrieval is not None:
        drawn = [retrieval.blend(item, job.options.index_rate) for item, job in zip(spoken, jobs, strict=True)]
        blended = [
            plain if changed is item else _held(changed, job.frames)
            for changed, item, plain, job in zip(drawn, spoken, features, jobs, strict=True)
        ]
    f0 = None
    if synthesizer.config.f0:
        f0 = _pitch(heard, jobs, pitch())
        voiced = [(row > 0)[: job.frames, None] for row, job in zip(f0, jobs, strict=True)]
        blended = [
            _protected(*item) for item in zip(blended, features, voiced, (job.options for job in jobs), strict=True)
        ]
    audio = _synthesized(jobs, blended, f0, synthesizer)
    return [_core(row, job, synthesizer.config.hop) for row, job in zip(audio, jobs, strict=True)]


def check(options: ConversionOptions, synthesizer: Synthesizer) -> None:
    """Raise InvalidRequest, naming the option, for what this voice cannot do."""
    config = synthesizer.config
    if options.speaker >= config.speakers:
        raise InvalidRequest(f"speaker {options.speaker} is not in this voice; it has {config.speakers}", "speaker")
    if options.pitch and not config.f0:
        raise InvalidRequest("this voice was trained without pitch and cannot be transposed; leave pitch 0", "pitch")


def _filtered(pcm: Pcm) -> Pcm:
    return np.ascontiguousarray(scipy.signal.filtfilt(*HIGH_PASS, pcm), np.float32)


def _content(heard: Sequence[torch.Tensor], content: ContentEncoder, synthesizer: Synthesizer) -> list[torch.Tensor]:
    """Features of each item [frames, channels], 50 a second."""
    longer = [functional.pad(item[None], (0, ENOUGH), mode="reflect")[0] for item in heard]
    features = content.features(
        pad_sequence(longer, batch_first=True), [len(item) for item in longer], synthesizer.config.version
    )
    return [row[: -(-len(item) // (2 * HOP))] for row, item in zip(features, heard, strict=True)]


def _held(features: torch.Tensor, frames: int) -> torch.Tensor:
    """50 features a second as ``frames`` of them, 100 a second: each held for two."""
    return features.repeat_interleave(2, 0)[:frames]


def _pitch(heard: Sequence[torch.Tensor], jobs: Sequence[Job], method: PitchMethod) -> torch.Tensor:
    """f0 in Hz [items, frames], smoothed and transposed as the options say."""
    found = method.f0(pad_sequence(list(heard), batch_first=True), [len(item) for item in heard])
    rows = [
        transpose(smooth(row[None, : job.frames], job.options.filter_radius), job.options.pitch)[0]
        for row, job in zip(found, jobs, strict=True)
    ]
    return pad_sequence(rows, batch_first=True)


def _protected(
    blended: torch.Tensor, plain: torch.Tensor, voiced: torch.Tensor, options: ConversionOptions
) -> torch.Tensor:
    """Voiceless sounds keep ``1 - protect`` of the features that are not drawn to the index."""
    if options.protect >= PROTECTS or blended is plain:
        return blended
    return torch.where(voiced, blended, options.protect * blended + (1 - options.protect) * plain)


def _synthesized(
    jobs: Sequence[Job], features: Sequence[torch.Tensor], f0: torch.Tensor | None, synthesizer: Synthesizer
) -> torch.Tensor:
    """Audio [items, samples] of the jobs' spans."""
    lengths = [job.stretched for job in jobs]
    curve = None
    if f0 is not None:
        rows = [_stretched(row[: job.frames, None], job)[:, 0] for row, job in zip(f0, jobs, strict=True)]
        curve = pad_sequence([row / job.stretch for row, job in zip(rows, jobs, strict=True)], batch_first=True)
    return synthesizer.infer(
        pad_sequence([_stretched(item, job) for item, job in zip(features, jobs, strict=True)], batch_first=True),
        lengths,
        noise=Noise.draw(synthesizer.config, lengths, [job.seed for job in jobs], synthesizer.device),
        speakers=[job.options.speaker for job in jobs],
        pitch=None if curve is None else coarse(curve),
        f0=curve,
        spans=[job.span for job in jobs],
    )


def _stretched(frames: torch.Tensor, job: Job) -> torch.Tensor:
    """``frames`` [count, channels] held longer or shorter, so that there are ``job.stretched`` of them."""
    if job.stretched == len(frames):
        return frames
    index = torch.arange(job.stretched, device=frames.device) * len(frames) // job.stretched
    return frames[index]


def _core(audio: torch.Tensor, job: Job, hop: int) -> Pcm:
    """The window's own samples out of its span's, played back as fast as it was stretched."""
    wanted = job.window.frames * hop
    first, last = job.span
    pcm: Pcm = audio[: (last - first) * hop].cpu().numpy()
    if job.stretch != 1:
        pcm = soxr.resample(pcm, job.stretch, 1.0, quality="HQ")
        start = round((CONTEXT - first / job.stretch) * hop)
        pcm = pcm[start : start + wanted]
        pcm = np.pad(pcm, (0, wanted - len(pcm)))
    return pcm
