"""Log-mel spectrograms of a batch whose items differ in length: each mirrored at its own end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torchaudio

from serving.engines.rvc.pitch.base import HOP, SAMPLE_RATE

WINDOW = 1024
"""Samples of a window (64 ms) and of its Fourier transform."""


@dataclass(frozen=True, slots=True)
class LogMel:
    """log(max(1e-5, mel @ sqrt(|STFT|^2 + ``epsilon``))) with Slaney's normalisation of the mel bands.

    ``pad`` samples are mirrored at each end, so frame ``t`` is centred on sample 160 t + 512 - ``pad``.
    """

    basis: torch.Tensor
    window: torch.Tensor
    pad: int
    epsilon: float

    @classmethod
    def of(
        cls,
        device: torch.device,
        *,
        low_hz: float,
        scale: Literal["htk", "slaney"],
        pad: int,
        epsilon: float = 0.0,
        bands: int = 128,
    ) -> LogMel:
        """Bands from ``low_hz`` to 8 kHz on the mel scale of that name."""
        basis = torchaudio.functional.melscale_fbanks(
            WINDOW // 2 + 1, low_hz, SAMPLE_RATE / 2, bands, SAMPLE_RATE, norm="slaney", mel_scale=scale
        )
        return cls(basis.T.to(device), torch.hann_window(WINDOW, device=device), pad, epsilon)

    def __call__(self, audio: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """float32 [B, bands, frames] of ``audio`` [B, samples]; beyond an item's own frames it means nothing."""
        padded = reflect_pad(audio, lengths, self.pad, max(self.pad, WINDOW - self.pad - audio.shape[1]))
        spectrum = torch.stft(padded, WINDOW, HOP, window=self.window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square() + self.epsilon
        return torch.log((self.basis @ power.sqrt()).clamp(min=1e-5))


def reflect_pad(signal: torch.Tensor, lengths: Sequence[int], left: int, right: int) -> torch.Tensor:
    """``signal`` [B, ..., size] -> [B, ..., left + size + right], mirrored at the start and at each item's own end.

    As numpy's "reflect", which goes back and forth where there is more to fill than to mirror.
    """
    period = (2 * torch.tensor(lengths, device=signal.device)[:, None] - 2).clamp(min=1)
    index = torch.arange(-left, signal.shape[-1] + right, device=signal.device).remainder(period)
    index = torch.minimum(index, period - index)
    return torch.take_along_dim(signal, index.reshape(len(index), *[1] * (signal.dim() - 2), -1), -1)
