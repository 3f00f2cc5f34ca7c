"""RMVPE, the pitch method that RVC users know as the default; its weights come from the volume.

Stays float32 on every device: it is a tenth of a conversion's work, and a semitone off is heard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from serving.engines.rvc.pitch.base import frame_count
from serving.engines.rvc.pitch.salience import BINS, decode
from serving.engines.rvc.pitch.spectrum import WINDOW, LogMel, reflect_pad
from serving.engines.rvc.pitch.unet import FRAMES, WIDTH_KEY, SalienceNetwork, shapes
from serving.engines.rvc.shared import PULL, check_tensors, read_tensors, to_float32
from serving.errors import ModelFilesError

THRESHOLD = 0.03
"""A frame is voiced if a pitch is more salient than that (RVC's ``rmvpe.py``)."""


class Rmvpe:
    """The network on ``device``; 90 M parameters in the released file."""

    name = "rmvpe"

    def __init__(self, network: SalienceNetwork, device: torch.device) -> None:
        self._network = network
        self._mel = LogMel.of(device, low_hz=30.0, scale="htk", pad=WINDOW // 2)
        self._device = device

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Rmvpe:
        """Read the public rmvpe.pt, in half or full precision. Raises ModelFilesError."""
        if not path.is_file():
            raise ModelFilesError(
                f"{path} is missing: pitch method rmvpe needs it; put it there ({PULL}), or choose fcpe, crepe or "
                "crepe-tiny, which need no download"
            )
        tensors = read_tensors(path)
        if WIDTH_KEY not in tensors:
            raise ModelFilesError(f"{path} lacks {WIDTH_KEY}, so it is not RMVPE; {PULL}")
        expected = shapes(tensors[WIDTH_KEY].numel() // 9)
        check_tensors(path, tensors, expected)
        return cls(SalienceNetwork(to_float32({key: tensors[key] for key in expected}, device)), device)

    def f0(self, audio: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """See ``PitchMethod.f0``."""
        return decode(self.salience(audio, lengths), THRESHOLD)

    def salience(self, audio: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Of 360 pitches, 0..1: [B, frames, 360] of ``audio`` [B, samples]; zeros beyond an item's frames.

        The network sees past every frame to the ends of what it is given, so items share a batch only with those that
        come to the same multiple of 32 frames; each is mirrored up to there at its own end.
        """
        counts = [frame_count(n) for n in lengths]
        salience = torch.zeros(len(lengths), max(counts), BINS, device=self._device)
        with torch.no_grad():
            mel = self._mel(audio[:, : max(lengths)].to(self._device), lengths)
            for size, items in _by_size(counts).items():
                own = [counts[item] for item in items]
                found = self._network(reflect_pad(mel[items, :, :size], own, 0, FRAMES)[..., :size])
                for row, item in enumerate(items):
                    salience[item, : counts[item]] = found[row, : counts[item]]
        return salience


def _by_size(counts: Sequence[int]) -> dict[int, list[int]]:
    """The items of each multiple of 32 frames."""
    groups = defaultdict(list)
    for item, count in enumerate(counts):
        groups[-(-count // FRAMES) * FRAMES].append(item)
    return groups
