"""RVC voices with seeded random weights in the format of the WebUI and of Applio, built when they are asked for.

They sing noise, but through every part of the real model, and follow features, pitch and speaker.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from tests.factories.rvc_model import ReferenceVoice, Source

Size = Literal["tiny", "full"]
FEATURES = {"v1": 256, "v2": 768}
UPSAMPLING: dict[tuple[str, int], tuple[list[int], list[int]]] = {
    ("v1", 32_000): ([10, 4, 2, 2, 2], [16, 16, 4, 4, 4]),
    ("v1", 40_000): ([10, 10, 2, 2], [16, 16, 4, 4]),
    ("v1", 48_000): ([10, 6, 2, 2, 2], [16, 16, 4, 4, 4]),
    ("v2", 32_000): ([10, 8, 2, 2], [20, 16, 4, 4]),
    ("v2", 40_000): ([10, 10, 2, 2], [16, 16, 4, 4]),
    ("v2", 48_000): ([12, 10, 2, 2], [24, 20, 4, 4]),
}
CHANNELS = {"full": (192, 192, 768, 2, 6), "tiny": (16, 32, 64, 2, 2)}
"""inter, hidden, filter, heads, layers."""

SPEAKERS = {"full": 109, "tiny": 5}


@dataclass(frozen=True)
class Variant:
    """One of the twelve voices there are."""

    version: Literal["v1", "v2"] = "v2"
    rate: int = 40_000
    f0: bool = True

    def __str__(self) -> str:
        return f"{self.version}-{self.rate // 1000}k-{'f0' if self.f0 else 'nof0'}"

    @property
    def features(self) -> int:
        return FEATURES[self.version]

    @property
    def upsampling(self) -> tuple[list[int], list[int]]:
        """Rates and kernels."""
        return UPSAMPLING[self.version, self.rate]


USUAL = Variant()
VARIANTS = [Variant(version, rate, f0) for version, rate in UPSAMPLING for f0 in (True, False)]  # type: ignore[arg-type]


def config_of(variant: Variant, size: Size = "tiny") -> list[Any]:
    """The checkpoint's ``config``."""
    rates, kernels = variant.upsampling
    bins = 513 if variant.rate == 32_000 else 1025
    outer = (512, 256) if size == "full" else (64, 16)
    blocks = ["1", [3, 7, 11], [[1, 3, 5]] * 3]
    return [
        *(bins, 32, *CHANNELS[size], 3, 0),
        *(*blocks, rates, outer[0], kernels, SPEAKERS[size], outer[1], variant.rate),
    ]


@functools.cache
def make_model(variant: Variant = USUAL, size: Size = "tiny", *, seed: int = 0) -> ReferenceVoice:
    """The reference with random weights as a checkpoint can hold them: rounded to float16, weight norm apart.

    It is shared: copy it to change it.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = ReferenceVoice(config_of(variant, size), variant.features, f0=variant.f0)
        _liven(model)
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    model.requires_grad_(False)
    return model


def weights_of(model: ReferenceVoice) -> dict[str, torch.Tensor]:
    """In float16, by the names of a checkpoint."""
    names = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
    weights = {}
    for key, tensor in model.state_dict().items():
        for new, old in names.items():
            key = key.replace(new, old)  # noqa: PLW2901
        weights[key] = tensor.half()
    return weights


@functools.cache
def _weights(variant: Variant, size: Size, seed: int) -> dict[str, torch.Tensor]:
    return weights_of(make_model(variant, size, seed=seed))


def content_of(variant: Variant = USUAL, size: Size = "tiny", *, seed: int = 0) -> dict[str, Any]:
    """What the WebUI's export holds."""
    return {
        "weight": dict(_weights(variant, size, seed)),
        "config": config_of(variant, size),
        "info": "200epoch",
        "sr": f"{variant.rate // 1000}k",
        "f0": int(variant.f0),
        "version": variant.version,
    }


def applio_content(variant: Variant = USUAL, size: Size = "tiny", *, seed: int = 0) -> dict[str, Any]:
    """What Applio's export holds."""
    return content_of(variant, size, seed=seed) | {
        "sr": variant.rate,
        "f0": variant.f0,
        "epoch": 200,
        "step": 12_000,
        "creation_date": "2026-01-02T03:04:05.678901",
        "model_hash": "0" * 64,
        "dataset_length": "0:12:34",
        "model_name": "../../etc/passwd",
        "author": "Nobody",
        "embedder_model": "spin",
        "speakers_id": 1,
        "vocoder": "HiFi-GAN",
    }


def training_content(variant: Variant = USUAL) -> dict[str, Any]:
    """What a G_*.pth holds."""
    model = {key: tensor.float() for key, tensor in weights_of(make_model(variant)).items()}
    model["enc_q.pre.weight"] = torch.zeros(32, 1025, 1)
    return {"model": model, "iteration": 7, "optimizer": {}, "learning_rate": 1e-4, "scaler": {}}


def make_voice(path: Path, variant: Variant = USUAL, size: Size = "tiny", *, seed: int = 0) -> Path:
    """Write a ``.pth`` as the WebUI exports it."""
    torch.save(content_of(variant, size, seed=seed), path)
    return path


def _liven(model: ReferenceVoice) -> None:
    """Audio that depends on all of its context, well above silence and below clipping; flows that do something.

    RVC begins with ``post`` at zero, which makes of the flow the identity, and with norms that do nothing.
    """
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            parameter.uniform_(0.7, 1.3)
        elif name.endswith("beta"):
            parameter.normal_(std=0.2)
    for name, layer in model.flow.named_modules():
        if isinstance(layer, nn.Conv1d):
            _he(name, layer)
    for name, layer in model.dec.named_modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            _he(name, layer)
        elif isinstance(layer, Source):
            layer.l_linear.weight.fill_(2.0)


def _he(name: str, layer: Any) -> None:
    """He's scale; the weight-normed ones get it through the parametrization."""
    shape = layer.weight.shape
    inputs = (shape[0] / layer.stride[0] if layer.transposed else shape[1]) * shape[2]
    gains = {"resblocks": 0.7, "conv_post": 0.06, "flows": 0.5}
    gain = gains.get(name.split(".", maxsplit=1)[0], 1)
    weight = torch.randn(shape) * gain * math.sqrt(2 / inputs)
    if is_parametrized(layer):
        layer.weight = weight
    else:
        layer.weight.copy_(weight)
    if layer.bias is not None:
        layer.bias.normal_(std=0.05)
