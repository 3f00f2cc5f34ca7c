"""FCPE, the pitch method that needs no download: its weights are in torchfcpe's wheel.

torchfcpe pads a batch without looking at its lengths, and its first norm is over time; here padding is masked before
every convolution that reaches sideways and left out of the norm, so items of any lengths share a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from serving.engines.rvc.pitch.base import before, frame_count
from serving.engines.rvc.pitch.salience import decode
from serving.engines.rvc.pitch.spectrum import LogMel

if TYPE_CHECKING:
    from torchfcpe.models import CFNaiveMelPE

THRESHOLD = 0.006
"""A frame is voiced if a pitch is more salient than that (Applio's and RVC's choice)."""

PAD = 432
"""torchfcpe's frames start a hop apart, so that one is centred half a hop after "its" sample."""


class Fcpe:
    """The network of torchfcpe's wheel (10.8 M parameters, float32) on ``device``."""

    name = "fcpe"

    def __init__(self, device: torch.device) -> None:
        self._network = _bundled().to(device)
        self._mel = LogMel.of(device, low_hz=0.0, scale="slaney", pad=PAD, epsilon=1e-9)
        self._device = device

    def f0(self, audio: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """See ``PitchMethod.f0``."""
        counts = [frame_count(n) for n in lengths]
        with torch.no_grad():
            mel = self._mel(audio[:, : max(lengths)].to(self._device), lengths)
            mel = _last_repeated(mel, counts)
            mask = before(counts, max(counts), self._device)
            found = decode(self._salience(mel, counts, mask), THRESHOLD, self._network.cent_table)
        return found * mask

    def _salience(self, mel: torch.Tensor, counts: Sequence[int], mask: torch.Tensor) -> torch.Tensor:
        """[B, frames, 360] of ``mel`` [B, 128, frames]: torchfcpe's ``CFNaiveMelPE.forward``, with a mask."""
        network, inside = self._network, mask[:, None].float()
        first, norm, activation, second = network.input_stack
        hidden = activation(_own_frames_norm(norm, first(mel * inside), counts, inside))
        hidden = second(hidden * inside).mT
        for layer in network.net.encoder_layers:
            assert layer.attn is None
            hidden = hidden + _convolved(layer.conformer, hidden, inside)
        return torch.sigmoid(network.output_proj(network.norm(hidden)))


def _bundled() -> CFNaiveMelPE:
    """As ``torchfcpe.spawn_bundled_infer_model``, which prints."""
    import torchfcpe
    from torchfcpe.models import CFNaiveMelPE

    path = Path(torchfcpe.__file__).parent / "assets" / "fcpe_c_v001.pt"
    content = torch.load(path, map_location="cpu", weights_only=True)
    options = content["config_dict"]["model"]
    names = ("out_dims", "hidden_dims", "n_layers", "n_heads", "f0_max", "f0_min", "use_fa_norm", "conv_only")
    network = CFNaiveMelPE(content["config_dict"]["mel"]["num_mels"], **{name: options[name] for name in names})
    network.load_state_dict(content["model"])
    nn.utils.parametrize.remove_parametrizations(network.output_proj, "weight")
    return network.requires_grad_(False).eval()


def _last_repeated(mel: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """One frame per hop is one less than ``counts``: torchfcpe shows the last one twice."""
    last = torch.tensor(counts, device=mel.device)[:, None, None] - 2
    index = torch.arange(max(counts), device=mel.device).minimum(last).clamp(min=0)
    return torch.take_along_dim(mel, index, 2)


def _own_frames_norm(
    norm: nn.GroupNorm, hidden: torch.Tensor, counts: Sequence[int], inside: torch.Tensor
) -> torch.Tensor:
    """``norm`` of ``hidden`` [B, channels, frames] with the statistics of each item's own frames."""
    grouped = (hidden * inside).unflatten(1, (norm.num_groups, -1))
    size = torch.tensor(counts, device=hidden.device)[:, None, None, None] * grouped.shape[2]
    centred = grouped - grouped.sum((2, 3), keepdim=True) / size
    variance = (centred * inside[:, None]).square().sum((2, 3), keepdim=True) / size
    normal = (centred * (variance + norm.eps).rsqrt()).flatten(1, 2)
    return normal * norm.weight[:, None] + norm.bias[:, None]


def _convolved(conformer: nn.Module, hidden: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """A conformer's convolution module of ``hidden`` [B, frames, channels]; only one of its layers reaches sideways."""
    from torchfcpe.model_conformer_naive import DepthWiseConv1d

    for layer in conformer.net:
        hidden = layer(hidden * inside if isinstance(layer, DepthWiseConv1d) else hidden)
    return hidden
