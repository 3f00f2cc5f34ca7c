"""RVC's synthesizer: content features and pitch to audio in one voice.

Prior, flow and decoder see no more of a recording than the wanted frames depend on: the prior all of it, the decoder 10
to 13 frames on each side, the flow 24 more. What they make of these frames is the same as if they saw everything.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn.utils.rnn import pad_sequence

from serving.engines.hifigan import Precision
from serving.engines.rvc.checkpoint import RvcCheckpoint, folded
from serving.engines.rvc.configuration import RvcConfig
from serving.engines.rvc.decoder import TILE, Decoder
from serving.engines.rvc.flow import CONTEXT, Flow
from serving.engines.rvc.layers import Span, mask_of
from serving.engines.rvc.prior import Prior
from serving.engines.rvc.source import Source, phases

TEMPERATURE = 0.66666
SOURCE = "dec.m_source."
Piece = tuple[int, Span]
"""An item of a batch, and frames of it."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard normal: ``prior`` [B, channels, T] for the latents and ``source`` [B, T * hop] for the harmonic source,
    which is empty for a voice without pitch.
    """

    prior: torch.Tensor
    source: torch.Tensor

    @classmethod
    def draw(cls, config: RvcConfig, lengths: Sequence[int], seeds: Sequence[int], device: torch.device) -> Noise:
        """Of each item's own seed and length, on the CPU: no neighbour and no device changes what an item hears."""
        channels, hop = config.inter_channels, config.hop if config.f0 else 0
        prior = torch.zeros(len(lengths), channels, max(lengths))
        source = torch.zeros(len(lengths), max(lengths) * hop)
        for at, (length, seed) in enumerate(zip(lengths, seeds, strict=True)):
            generator = torch.Generator().manual_seed(seed)
            prior[at, :, :length] = torch.randn(channels, length, generator=generator)
            source[at, : length * hop] = torch.randn(length * hop, generator=generator)
        return cls(prior.to(device), source.to(device))


class Synthesizer:
    """One voice on ``device``, immutable: any thread may call it.

    Weights are float32, in "float16" (GPUs only) the decoder's float16; ``nbytes`` is what they take as they are kept.
    ``tile``: frames of an item that are decoded at a time, by default ``TILE`` on a CPU; None decodes all together.
    """

    def __init__(
        self,
        checkpoint: RvcCheckpoint,
        device: torch.device,
        precision: Precision = "tf32",
        *,
        tile: int | Literal["auto"] | None = "auto",
    ) -> None:
        assert device.type != "cpu" or precision != "float16", "half precision is for GPUs"
        self._tile = (TILE if device.type == "cpu" else None) if tile == "auto" else tile
        weights = folded(checkpoint.weights, device)
        self.config = checkpoint.config
        self.device = device
        self.prior = Prior.of(weights, self.config)
        self.flow = Flow.of(weights)
        self.source = Source.of(weights, self.config) if self.config.f0 else None
        self.decoder = Decoder.of(weights, self.config, precision)
        self.speakers = weights["emb_g.weight"]
        others = [tensor for key, tensor in weights.items() if not key.startswith("dec.") or key.startswith(SOURCE)]
        self.nbytes = sum(tensor.nbytes for tensor in others) + self.decoder.nbytes

    def infer(
        self,
        features: torch.Tensor,
        lengths: Sequence[int],
        *,
        noise: Noise,
        speakers: Sequence[int],
        pitch: torch.Tensor | None = None,
        f0: torch.Tensor | None = None,
        spans: Sequence[Span] | None = None,
        temperature: float = TEMPERATURE,
    ) -> torch.Tensor:
        """Audio [B, frames * hop] in -1..1, float32, of each item's frames ``spans`` (by default all it has).

        ``features`` [B, T, config.features], float32, of which ``lengths`` frames are each item's; ``speakers`` rows of
        the speaker table. A voice with pitch takes ``pitch``, int64 bins [B, T] in 1..255, and ``f0`` in Hz [B, T], 0
        where unvoiced. Behind a shorter span there is silence. Decoded together, the last ``decoder.context`` frames of
        an item that is shorter than its neighbours are not what they are alone: leave them out of the span.
        """
        spans = spans or [(0, length) for length in lengths]
        assert len(lengths) == len(speakers) == len(spans) == len(features)
        assert all(0 <= first < last <= length for (first, last), length in zip(spans, lengths, strict=True))
        assert all(0 <= speaker < len(self.speakers) for speaker in speakers)
        with torch.inference_mode():
            speaker = self.speakers[torch.tensor(speakers, device=self.device)]
            mask = mask_of(torch.tensor(lengths, device=self.device), features.shape[1])
            mean, logs = self.prior(features, pitch, mask)
            z = (mean + logs.exp() * (noise.prior.transpose(1, 2) * temperature)) * mask
            around = [
                _widened(span, length, self.decoder.context + CONTEXT)
                for span, length in zip(spans, lengths, strict=True)
            ]
            z = _cut(z, list(enumerate(around)))
            sizes = torch.tensor([last - first for first, last in around], device=self.device)
            z = self.flow(z, mask_of(sizes, z.shape[1]), speaker)
            return self._decoded(_Latents(z, [first for first, _ in around], lengths), spans, f0, noise, speaker)

    def _decoded(
        self,
        latents: _Latents,
        spans: Sequence[Span],
        f0: torch.Tensor | None,
        noise: Noise,
        speaker: torch.Tensor,
    ) -> torch.Tensor:
        hop, context = self.config.hop, self.decoder.context
        audio = latents.z.new_zeros(len(spans), max(last - first for first, last in spans) * hop)
        phase = None if f0 is None else phases(f0)
        for pieces in self._batches(spans):
            windows = [(item, _widened(span, latents.lengths[item], context)) for item, span in pieces]
            source = None
            if self.source is not None:
                assert f0 is not None, "the voice is told the pitch"
                assert phase is not None
                waves = noise.source.view(*f0.shape, hop)
                source = self.source(_cut(f0, windows), _cut(phase, windows), _cut(waves, windows).flatten(1))
            inner = [
                (first - window[0], last - window[0])
                for (_, window), (_, (first, last)) in zip(windows, pieces, strict=True)
            ]
            wanted = min(first for first, _ in inner), max(last for _, last in inner)
            made = self.decoder(latents.cut(windows), source, speaker[[item for item, _ in pieces]], wanted)
            for row, (start, _), (item, (first, last)) in zip(made, inner, pieces, strict=True):
                begin, into, size = (start - wanted[0]) * hop, (first - spans[item][0]) * hop, (last - first) * hop
                audio[item, into : into + size] = row[begin : begin + size]
        return audio

    def _batches(self, spans: Sequence[Span]) -> list[list[Piece]]:
        """What is decoded together: everything, or equal parts of an item that have ``tile`` frames at most."""
        if self._tile is None:
            return [list(enumerate(spans))]
        return [[(item, part)] for item, span in enumerate(spans) for part in _parts(span, self._tile)]


@dataclass(frozen=True, slots=True)
class _Latents:
    """The decoder's: row i of ``z`` begins at frame ``starts[i]`` of item i, which has ``lengths[i]``."""

    z: torch.Tensor
    starts: Sequence[int]
    lengths: Sequence[int]

    def cut(self, pieces: Sequence[Piece]) -> torch.Tensor:
        return _cut(
            self.z, [(item, (first - self.starts[item], last - self.starts[item])) for item, (first, last) in pieces]
        )


def _parts(span: Span, most: int) -> list[Span]:
    first, last = span
    count = math.ceil((last - first) / most)
    cuts = [first + (last - first) * at // count for at in range(count + 1)]
    return list(itertools.pairwise(cuts))


def _widened(span: Span, length: int, frames: int) -> Span:
    return max(0, span[0] - frames), min(length, span[1] + frames)


def _cut(x: torch.Tensor, pieces: Sequence[Piece]) -> torch.Tensor:
    """The ``pieces`` of the items ``x`` [B, T, ...] as rows, zeros behind the shorter ones."""
    rows = [x[item, first:last] for item, (first, last) in pieces]
    return rows[0][None] if len(rows) == 1 else pad_sequence(rows, batch_first=True)
