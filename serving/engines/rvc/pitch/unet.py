"""RMVPE's network: a U-Net over a log-mel spectrogram, then a bidirectional GRU over time.

Wei et al., "RMVPE: A Robust Model for Vocal Pitch Estimation in Polyphonic Music", Interspeech 2023; the keys are those
of the public rmvpe.pt, ``E2E(4, 1, (2, 2))``. Batch norms are folded into the convolutions before them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from serving.engines.linear import PackedConvolution
from serving.engines.rvc.pitch.salience import BINS

Weights = Mapping[str, torch.Tensor]
Shapes = dict[str, list[int]]

LEVELS = 5
BLOCKS = 4
MIDDLES = 4
MELS = 128
HIDDEN = 256
FRAMES = 2**LEVELS
"""The network halves time five times: it takes multiples of so many frames."""

WIDTH_KEY = "unet.encoder.layers.0.conv.0.conv.0.weight"
NORM = ("weight", "bias", "running_mean", "running_var")


def shapes(width: int) -> Shapes:
    """The keys that the network reads and their shapes; ``width``, the first level's channels, is 16 in rmvpe.pt."""
    found: Shapes = {f"unet.encoder.bn.{name}": [1] for name in NORM}
    for key, inputs, outputs in _block_names(width):
        for number, source in ((0, inputs), (3, outputs)):
            found[f"{key}.conv.{number}.weight"] = [outputs, source, 3, 3]
            found |= {f"{key}.conv.{number + 1}.{name}": [outputs] for name in NORM}
        if inputs != outputs:
            found |= {f"{key}.shortcut.weight": [outputs, inputs, 1, 1], f"{key}.shortcut.bias": [outputs]}
    for level in range(LEVELS):
        channels = width << LEVELS - level
        key = f"unet.decoder.layers.{level}.conv1"
        found[f"{key}.0.weight"] = [channels, channels // 2, 3, 3]
        found |= {f"{key}.1.{name}": [channels // 2] for name in NORM}
    found |= {"cnn.weight": [3, width, 3, 3], "cnn.bias": [3]}
    found |= {f"fc.0.gru.{name}": list(like.shape) for name, like in _gru(torch.device("meta")).state_dict().items()}
    return found | {"fc.1.weight": [BINS, 2 * HIDDEN], "fc.1.bias": [BINS]}


def _block_names(width: int) -> Iterator[tuple[str, int, int]]:
    """(key, channels in, channels out) of every residual block."""
    for level in range(LEVELS):
        outputs = width << level
        for block in range(BLOCKS):
            inputs = outputs if block else (outputs // 2 if level else 1)
            yield f"unet.encoder.layers.{level}.conv.{block}", inputs, outputs
    outputs = width << LEVELS
    for middle in range(MIDDLES):
        for block in range(BLOCKS):
            yield (
                f"unet.intermediate.layers.{middle}.conv.{block}",
                outputs if middle or block else outputs // 2,
                outputs,
            )
    for level in range(LEVELS):
        outputs = width << LEVELS - level - 1
        for block in range(BLOCKS):
            yield f"unet.decoder.layers.{level}.conv2.{block}", outputs if block else 2 * outputs, outputs


class SalienceNetwork:
    """``weights`` have the keys and shapes of ``shapes``, in float32 and on the device to run on."""

    def __init__(self, weights: Weights) -> None:
        blocks = {key: _Block.take(weights, key) for key, _, _ in _block_names(len(weights[WIDTH_KEY]))}
        self._norm = _scale_and_shift(weights, "unet.encoder.bn")
        self._down = [_level(blocks, f"unet.encoder.layers.{level}.") for level in range(LEVELS)]
        self._middle = _level(blocks, "unet.intermediate.")
        self._up = [
            (_Upsampling.take(weights, f"unet.decoder.layers.{n}.conv1"), _level(blocks, f"unet.decoder.layers.{n}."))
            for n in range(LEVELS)
        ]
        self._last = _convolution(weights["cnn.weight"], weights["cnn.bias"])
        self._gru = _gru(weights["fc.1.weight"].device)
        self._gru.load_state_dict({name: weights[f"fc.0.gru.{name}"] for name in self._gru.state_dict()})
        self._gru.requires_grad_(False).eval()
        self._linear = weights["fc.1.weight"], weights["fc.1.bias"]

    def __call__(self, mel: torch.Tensor) -> torch.Tensor:
        """Salience in 0..1 [B, frames, 360] of ``mel`` [B, 128, frames], frames a multiple of 32."""
        assert mel.shape[1] == MELS
        assert mel.shape[2] % FRAMES == 0
        scale, shift = self._norm
        hidden = _last(mel.mT[:, None] * scale + shift)
        skipped = []
        for blocks in self._down:
            hidden = _through(blocks, hidden)
            skipped.append(hidden)
            hidden = functional.avg_pool2d(hidden, 2)
        hidden = _through(self._middle, hidden)
        for upsampling, blocks in self._up:
            hidden = _through(blocks, torch.cat((upsampling(hidden), skipped.pop()), 1))
        features = self._last(hidden).transpose(1, 2).flatten(2)
        return torch.sigmoid(functional.linear(self._gru(features)[0], *self._linear))


def _convolution(weight: torch.Tensor, bias: torch.Tensor) -> PackedConvolution:
    """Keeps the size of its image."""
    outputs, inputs, height, width = weight.shape
    like = (1, inputs, *_usual_image(max(inputs, outputs)))
    return PackedConvolution(weight, bias, like, padding=(height // 2, width // 2))


def _usual_image(channels: int) -> tuple[int, int]:
    """Frames and bands at the level that has so many channels, of 12 s of audio."""
    level = min(LEVELS, max(0, channels.bit_length() - 5))
    return 1216 >> level, MELS >> level


def _normed(weights: Weights, convolution: str, norm: str) -> PackedConvolution:
    scale, shift = _scale_and_shift(weights, norm)
    return _convolution(weights[f"{convolution}.weight"] * scale[:, None, None, None], shift)


@dataclass(frozen=True, slots=True)
class _Upsampling:
    """Twice the frames and twice the bands."""

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def take(cls, weights: Weights, key: str) -> _Upsampling:
        scale, shift = _scale_and_shift(weights, f"{key}.1")
        return cls(_last(weights[f"{key}.0.weight"] * scale[:, None, None]), shift)  # [in, out, ...]

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        return functional.conv_transpose2d(hidden, self.weight, self.bias, 2, padding=1, output_padding=1).relu_()


@dataclass(frozen=True, slots=True)
class _Block:
    first: PackedConvolution
    second: PackedConvolution
    shortcut: PackedConvolution | None

    @classmethod
    def take(cls, weights: Weights, key: str) -> _Block:
        name = f"{key}.shortcut"
        shortcut = (
            _convolution(weights[f"{name}.weight"], weights[f"{name}.bias"]) if f"{name}.weight" in weights else None
        )
        first, second = (_normed(weights, f"{key}.conv.{n}", f"{key}.conv.{n + 1}") for n in (0, 3))
        return cls(first, second, shortcut)

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        changed = self.second(self.first(hidden).relu_()).relu_()
        return changed.add_(hidden if self.shortcut is None else self.shortcut(hidden))


def _last(x: torch.Tensor) -> torch.Tensor:
    """``x`` with its channels last in memory: for the widest level five times as fast on a CPU."""
    return x.contiguous(memory_format=torch.channels_last)


def _level(blocks: Mapping[str, _Block], prefix: str) -> list[_Block]:
    return [block for key, block in blocks.items() if key.startswith(prefix)]


def _through(blocks: list[_Block], hidden: torch.Tensor) -> torch.Tensor:
    for block in blocks:
        hidden = block(hidden)
    return hidden


def _scale_and_shift(weights: Weights, norm: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch norm in evaluation, as x * scale + shift."""
    gamma, beta, mean, variance = (weights[f"{norm}.{name}"] for name in NORM)
    scale = gamma / (variance + 1e-5).sqrt()
    return scale, beta - mean * scale


def _gru(device: torch.device) -> nn.GRU:
    return nn.GRU(3 * MELS, HIDDEN, batch_first=True, bidirectional=True, device=device)
