"""The convolutions that a HuBERT encoder hears with, and the norm among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

AT_A_TIME = 4096
"""Frames of the first layer that are worked on together: 8 MB, which stay in a CPU's cache."""


class OwnFramesNorm(nn.Module):  # type: ignore[misc]  # torch's types are not followed
    """GroupNorm with a group per channel over [B, channels, frames], in float32, of the frames that ``only`` names."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.frames: list[int] | None = None

    @contextmanager
    def only(self, frames: list[int] | None) -> Iterator[None]:
        """Within, the statistics of item ``i`` are those of its first ``frames[i]`` frames; of all frames for None."""
        self.frames = frames
        try:
            yield
        finally:
            self.frames = None

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        weight, bias, full = self.weight.float(), self.bias.float(), hidden.float()
        if self.frames is None:
            return functional.group_norm(full, full.shape[1], weight, bias, self.eps).to(hidden.dtype)
        mask = before(self.frames, full.shape[2], full.device)[:, None]
        count = mask.sum(2, keepdim=True)
        centred = full - full.masked_fill(~mask, 0).sum(2, keepdim=True) / count
        variance = centred.square().masked_fill_(~mask, 0).sum(2, keepdim=True) / count
        return (centred * (variance + self.eps).rsqrt() * weight[:, None] + bias[:, None]).to(hidden.dtype)


class FrontEnd(nn.Module):  # type: ignore[misc]
    """Stands in for transformers' ``HubertFeatureEncoder`` on a CPU, whose ``layers`` have GELUs and one ``norm``.

    Channels are last, and the first two layers, which make the most frames, go through the audio in pieces, twice: once
    for the norm. In float32 on one core with AVX-512 it takes 0.31 s for 12 s of audio where the other takes 0.54 s.
    """

    def __init__(self, layers: Sequence[nn.Module], norm: OwnFramesNorm) -> None:
        super().__init__()
        self._norm = norm
        self._layers = [
            (
                layer.conv.weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last),
                layer.conv.bias,
                layer.conv.stride[0],
            )
            for layer in layers
        ]

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """[B, channels, frames] of ``audio`` [B, samples]."""
        rows = [self._heard(row[None, None, None], item) for item, row in enumerate(audio)]
        return torch.cat(rows)[:, :, 0]

    def _heard(self, audio: torch.Tensor, item: int) -> torch.Tensor:
        """[1, channels, 1, frames] of ``audio`` [1, 1, 1, samples]."""
        mean, scale, bias = self._normed_by(audio, item)
        weight, _, stride = self._layers[1]
        width = weight.shape[3]
        frames = (self._frames(audio) - width) // stride + 1
        hidden = audio.new_empty(1, frames, 1, len(weight)).permute(0, 3, 2, 1)
        size = AT_A_TIME // stride
        for first in range(0, frames, size):
            last = min(first + size, frames)
            part = self._first(audio, first * stride, (last - 1) * stride + width).sub_(mean).mul_(scale).add_(bias)
            hidden[..., first:last] = self._convolved(_gelu_(part), 1)
        for number in range(2, len(self._layers)):
            hidden = self._convolved(_gelu_(hidden), number)
        return _gelu_(hidden)

    def _normed_by(self, audio: torch.Tensor, item: int) -> tuple[torch.Tensor, ...]:
        """What the norm does to the first layer's frames: mean, scale and bias, each [channels, 1, 1]."""
        norm = self._norm
        frames = self._frames(audio) if norm.frames is None else norm.frames[item]
        mean = squares = torch.zeros_like(norm.bias, dtype=torch.float64)
        for first in range(0, frames, AT_A_TIME):  # the statistics of pieces put together: Chan et al., 1979
            last = min(first + AT_A_TIME, frames)
            part = self._first(audio, first, last)[0, :, 0].mT
            own = part.mean(0)
            apart = own - mean
            squares = squares + (part - own).square_().sum(0) + apart.square() * (first * (last - first) / last)
            mean = mean + apart * ((last - first) / last)
        scale = norm.weight * (squares / frames + norm.eps).rsqrt()
        mean, scale, bias = (values[:, None, None].float() for values in (mean, scale, norm.bias))
        return mean, scale, bias

    def _frames(self, audio: torch.Tensor) -> int:
        """Of the first layer."""
        weight, _, stride = self._layers[0]
        return int((audio.shape[3] - weight.shape[3]) // stride + 1)

    def _first(self, audio: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Frames [first, last) of the first layer, before its norm."""
        weight, _, stride = self._layers[0]
        return self._convolved(audio[..., first * stride : (last - 1) * stride + weight.shape[3]], 0)

    def _convolved(self, hidden: torch.Tensor, number: int) -> torch.Tensor:
        weight, bias, stride = self._layers[number]
        return functional.conv2d(hidden, weight, bias, stride=(1, stride))


def before(lengths: Sequence[int], size: int, device: torch.device) -> torch.Tensor:
    """bool [B, size], True for the first ``lengths[i]`` of row ``i``."""
    return torch.arange(size, device=device) < torch.tensor(lengths, device=device)[:, None]


def _gelu_(hidden: torch.Tensor) -> torch.Tensor:
    torch.ops.aten.gelu.out(hidden, out=hidden)
    return hidden
