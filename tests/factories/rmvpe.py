"""rmvpe.pt with seeded random weights under the released keys, and the network written out plainly, as a reference."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from tests.factories.cache import cached

Size = Literal["tiny", "full"]
WIDTH = {"tiny": 2, "full": 16}


def make_rmvpe(path: Path, size: Size = "tiny", *, seed: int = 0) -> Path:
    """Write a state dict in half precision, as released, to ``path`` and return it; "full" has 90 M parameters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: _half(tensor) for key, tensor in plain_rmvpe(size, seed).state_dict().items()}, path)
    return path


def cached_rmvpe(size: Size = "tiny") -> Path:
    """An rmvpe.pt shared by all tests; read-only by convention: copy to change."""
    return cached(f"rmvpe-{size}", [Path(__file__)], lambda folder: make_rmvpe(folder / "rmvpe.pt", size)) / "rmvpe.pt"


def plain_rmvpe(size: Size = "tiny", seed: int = 0) -> nn.Module:
    """The network as its paper draws it, layer by layer, in evaluation mode; statistics of the norms are random too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Network(WIDTH[size])
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.0)
                nn.init.normal_(module.bias, std=0.2)
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        with torch.no_grad():
            network.fc[1].bias -= 1  # neither all voiced nor none
            network.fc[1].weight.mul_(8)
    return network.eval().requires_grad_(False)


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


class _Residual(nn.Module):  # type: ignore[misc]  # torch's types are not followed
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers = []
        for source in (inputs, outputs):
            layers += [nn.Conv2d(source, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(x) + self.shortcut(x)
        return result


class _Named(nn.Module):  # type: ignore[misc]
    """A module that only gives names to others."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class _Network(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(6)]
        self.unet = _Named(
            encoder=_Named(
                bn=nn.BatchNorm2d(1), layers=nn.ModuleList(_blocks(a, b) for a, b in _pairs([1, *widths[:5]]))
            ),
            intermediate=_Named(layers=nn.ModuleList(_blocks(widths[4 if n == 0 else 5], widths[5]) for n in range(4))),
            decoder=_Named(layers=nn.ModuleList(_up(a, b) for a, b in _pairs(widths[::-1]))),
        )
        self.cnn = nn.Conv2d(width, 3, 3, padding=1)
        gru = nn.GRU(384, 256, batch_first=True, bidirectional=True)
        self.fc = nn.Sequential(_Named(gru=gru), nn.Linear(512, 360))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """[B, 128, frames] -> [B, frames, 360]."""
        x = self.unet.encoder.bn(mel.transpose(1, 2).unsqueeze(1))
        levels = []
        for level in self.unet.encoder.layers:
            x = nn.Sequential(*level.conv)(x)
            levels.append(x)
            x = nn.AvgPool2d(2)(x)
        for level in self.unet.intermediate.layers:
            x = nn.Sequential(*level.conv)(x)
        for level, skipped in zip(self.unet.decoder.layers, reversed(levels), strict=True):
            x = nn.Sequential(*level.conv2)(torch.cat([level.conv1(x), skipped], dim=1))
        rows = self.cnn(x).permute(0, 2, 1, 3).reshape(len(mel), mel.shape[2], 384)
        states, _ = self.fc[0].gru(rows)
        salience: torch.Tensor = self.fc[1](states).sigmoid()
        return salience


def _pairs(widths: list[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(widths))


def _blocks(inputs: int, outputs: int) -> nn.Module:
    return _Named(conv=nn.ModuleList(_Residual(inputs if n == 0 else outputs, outputs) for n in range(4)))


def _up(inputs: int, outputs: int) -> nn.Module:
    up = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False)
    blocks = nn.ModuleList(_Residual(2 * outputs if n == 0 else outputs, outputs) for n in range(4))
    return _Named(conv1=nn.Sequential(up, nn.BatchNorm2d(outputs), nn.ReLU()), conv2=blocks)
