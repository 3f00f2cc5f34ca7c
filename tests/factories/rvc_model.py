"""RVC's synthesizer as its checkpoints describe it, written plainly: the tests' reference and the factory's model.

Modules have the checkpoint's names. Nothing is folded, trimmed, blocked or batched in a clever way.
"""

# mypy: disable-error-code="misc, untyped-decorator"
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

WINDOW = 10


@dataclass(frozen=True)
class Stages:
    """What the model computes on the way. ``source`` is None for a voice without pitch."""

    mean: torch.Tensor
    logs: torch.Tensor
    z: torch.Tensor
    source: torch.Tensor | None
    wav: torch.Tensor


class LayerNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        return (x - mean) / (variance + 1e-5).sqrt() * self.gamma[:, None] + self.beta[:, None]


class Attention(nn.Module):
    """The textbook form: one vector for each pair of positions, zero where they are more than ten apart."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        for name in "qkvo":
            setattr(self, f"conv_{name}", nn.Conv1d(channels, channels, 1))
        size = (1, 2 * WINDOW + 1, channels // heads)
        self.emb_rel_k = nn.Parameter(torch.randn(size) * size[2] ** -0.5)
        self.emb_rel_v = nn.Parameter(torch.randn(size) * size[2] ** -0.5)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, channels, length = x.shape
        q, k, v = (
            getattr(self, f"conv_{name}")(x).view(batch, self.heads, -1, length).transpose(2, 3) for name in "qkv"
        )
        q = q / math.sqrt(channels // self.heads)
        scores = torch.einsum("bhid,bhjd->bhij", q, k) + torch.einsum(
            "bhid,ijd->bhij", q, self.between(self.emb_rel_k[0], length)
        )
        pairs = mask[:, :, :, None] * mask[:, :, None, :]
        share = scores.masked_fill(pairs == 0, -1e4).softmax(-1)
        mixed = share @ v + torch.einsum("bhij,ijd->bhid", share, self.between(self.emb_rel_v[0], length))
        out: torch.Tensor = self.conv_o(mixed.transpose(2, 3).reshape(batch, channels, length))
        return out

    @staticmethod
    def between(vectors: torch.Tensor, length: int) -> torch.Tensor:
        """[length, length, channels]: entry (i, j) is vector j - i + 10."""
        dense = torch.zeros(length, length, vectors.shape[1])
        for i in range(length):
            for j in range(max(0, i - WINDOW), min(length, i + WINDOW + 1)):
                dense[i, j] = vectors[j - i + WINDOW]
        return dense


class FeedForward(nn.Module):
    def __init__(self, channels: int, inner: int, width: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(channels, inner, width, padding=width // 2)
        self.conv_2 = nn.Conv1d(inner, channels, width, padding=width // 2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        inner: torch.Tensor = self.conv_2(self.conv_1(x * mask).relu() * mask)
        return inner * mask


class Transformer(nn.Module):
    def __init__(self, channels: int, inner: int, heads: int, layers: int, width: int) -> None:
        super().__init__()
        self.attn_layers = nn.ModuleList(Attention(channels, heads) for _ in range(layers))
        self.norm_layers_1 = nn.ModuleList(LayerNorm(channels) for _ in range(layers))
        self.ffn_layers = nn.ModuleList(FeedForward(channels, inner, width) for _ in range(layers))
        self.norm_layers_2 = nn.ModuleList(LayerNorm(channels) for _ in range(layers))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = x * mask
        for attention, norm_1, ffn, norm_2 in zip(
            self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True
        ):
            x = norm_1(x + attention(x, mask))
            x = norm_2(x + ffn(x, mask))
        return x * mask


class Prior(nn.Module):
    scale = True
    """Whether features are multiplied by the root of their channels, as they are; a test turns it off."""

    def __init__(self, features: int, config: list[Any], *, f0: bool) -> None:
        super().__init__()
        inter, hidden, inner, heads, layers, width = config[2:8]
        self.emb_phone = nn.Linear(features, hidden)
        if f0:
            self.emb_pitch = nn.Embedding(256, hidden)
        self.encoder = Transformer(hidden, inner, heads, layers, width)
        self.proj = nn.Conv1d(hidden, 2 * inter, 1)

    def forward(
        self, features: torch.Tensor, pitch: torch.Tensor | None, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.emb_phone(features)
        if pitch is not None:
            x = x + self.emb_pitch(pitch)
        if self.scale:
            x = x * math.sqrt(x.shape[2])
        x = functional.leaky_relu(x, 0.1).transpose(1, 2)
        mean, logs = (self.proj(self.encoder(x, mask)) * mask).chunk(2, 1)
        return mean, logs


class WaveNet(nn.Module):
    def __init__(self, hidden: int, speaker: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.in_layers = nn.ModuleList(weight_norm(nn.Conv1d(hidden, 2 * hidden, 5, padding=2)) for _ in range(3))
        self.res_skip_layers = nn.ModuleList(
            weight_norm(nn.Conv1d(hidden, width, 1)) for width in (2 * hidden, 2 * hidden, hidden)
        )
        self.cond_layer = weight_norm(nn.Conv1d(speaker, 6 * hidden, 1))

    def forward(self, x: torch.Tensor, mask: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(x)
        for at, condition in enumerate(self.cond_layer(speaker).chunk(3, 1)):
            a, b = (self.in_layers[at](x) + condition).chunk(2, 1)
            y = self.res_skip_layers[at](a.tanh() * b.sigmoid())
            if at < 2:
                x = (x + y[:, : self.hidden]) * mask
                total = total + y[:, self.hidden :]
            else:
                total = total + y
        return total * mask


class Coupling(nn.Module):
    def __init__(self, inter: int, hidden: int, speaker: int) -> None:
        super().__init__()
        self.pre = nn.Conv1d(inter // 2, hidden, 1)
        self.enc = WaveNet(hidden, speaker)
        self.post = nn.Conv1d(hidden, inter // 2, 1)

    def inverse(self, x: torch.Tensor, mask: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        kept, moved = x.chunk(2, 1)
        mean = self.post(self.enc(self.pre(kept) * mask, mask, speaker)) * mask
        return torch.cat([kept, (moved - mean) * mask], 1)


class Flip(nn.Module):
    def inverse(self, x: torch.Tensor, mask: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        return x.flip(1)


class Flow(nn.Module):
    def __init__(self, inter: int, hidden: int, speaker: int) -> None:
        super().__init__()
        self.flows = nn.ModuleList()
        for _ in range(4):
            self.flows.extend([Coupling(inter, hidden, speaker), Flip()])

    def inverse(self, x: torch.Tensor, mask: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        for flow in reversed(self.flows):
            x = flow.inverse(x, mask, speaker)
        return x


class Source(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l_linear = nn.Linear(1, 1)

    def forward(self, f0: torch.Tensor, hop: int, rate: int, noise: torch.Tensor) -> torch.Tensor:
        """[B, 1, T * hop]: every sample's phase is the sum of all steps before it, in float64."""
        steps = f0.double().repeat_interleave(hop, 1) / rate
        sine = (2 * math.pi * (steps.cumsum(1) % 1)).sin()
        voiced = (f0 > 0).double().repeat_interleave(hop, 1)
        wave = 0.1 * sine * voiced + (voiced * 0.003 + (1 - voiced) * 0.1 / 3) * noise.double()
        out: torch.Tensor = self.l_linear(wave.float()[..., None]).tanh()
        return out.transpose(1, 2)


class ResBlock(nn.Module):
    def __init__(self, channels: int, width: int, dilations: list[int]) -> None:
        super().__init__()

        def layer(dilation: int) -> nn.Module:
            conv = nn.Conv1d(channels, channels, width, dilation=dilation, padding=dilation * (width - 1) // 2)
            return weight_norm(conv)

        self.convs1 = nn.ModuleList(layer(dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(layer(1) for _ in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for one, two in zip(self.convs1, self.convs2, strict=True):
            x = x + two(functional.leaky_relu(one(functional.leaky_relu(x, 0.1)), 0.1))
        return x


class Decoder(nn.Module):
    last_slope = 0.01
    """Of the leaky ReLU before the last convolution; a test sets the other layers' 0.1."""

    def __init__(self, config: list[Any], *, f0: bool) -> None:
        super().__init__()
        kernels, dilations, rates, channels, widths = config[10:15]
        self.kernels = len(kernels)
        self.conv_pre = nn.Conv1d(config[2], channels, 7, padding=3)
        self.cond = nn.Conv1d(config[16], channels, 1)
        self.ups, self.resblocks, self.noise_convs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        if f0:
            self.m_source = Source()
        for at, (rate, width) in enumerate(zip(rates, widths, strict=True)):
            half = channels // 2
            self.ups.append(
                weight_norm(nn.ConvTranspose1d(channels, half, width, stride=rate, padding=(width - rate) // 2))
            )
            stride = math.prod(rates[at + 1 :])
            if f0:
                span = (2 * stride, stride, stride // 2) if stride > 1 else (1, 1, 0)
                self.noise_convs.append(nn.Conv1d(1, half, span[0], stride=span[1], padding=span[2]))
            for kernel, dilation in zip(kernels, dilations, strict=True):
                self.resblocks.append(ResBlock(half, kernel, dilation))
            channels = half
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=False)

    def forward(self, z: torch.Tensor, source: torch.Tensor | None, speaker: torch.Tensor) -> torch.Tensor:
        x = self.conv_pre(z) + self.cond(speaker)
        for at, up in enumerate(self.ups):
            x = up(functional.leaky_relu(x, 0.1))
            if source is not None:
                x = x + self.noise_convs[at](source)
            blocks = self.resblocks[at * self.kernels : (at + 1) * self.kernels]
            x = torch.stack([block(x) for block in blocks]).mean(0)
        out: torch.Tensor = self.conv_post(functional.leaky_relu(x, self.last_slope)).tanh()
        return out


class ReferenceVoice(nn.Module):
    """A voice of ``config``, a checkpoint's list of 18, that reads ``features`` channels."""

    def __init__(self, config: list[Any], features: int, *, f0: bool) -> None:
        super().__init__()
        self.rate, self.hop = config[17], math.prod(config[12])
        self.enc_p = Prior(features, config, f0=f0)
        self.flow = Flow(config[2], config[3], config[16])
        self.dec = Decoder(config, f0=f0)
        self.emb_g = nn.Embedding(config[15], config[16])

    @torch.no_grad()
    def forward(
        self,
        features: torch.Tensor,
        lengths: list[int],
        pitch: torch.Tensor | None,
        f0: torch.Tensor | None,
        speakers: list[int],
        noise: torch.Tensor,
        source_noise: torch.Tensor | None,
        temperature: float = 0.66666,
    ) -> Stages:
        """Features [B, T, features], pitch and f0 [B, T], noise [B, channels, T], source_noise [B, T * hop]."""
        mask = (torch.arange(features.shape[1]) < torch.tensor(lengths)[:, None])[:, None].float()
        speaker = self.emb_g(torch.tensor(speakers))[:, :, None]
        mean, logs = self.enc_p(features, pitch, mask)
        z = self.flow.inverse((mean + logs.exp() * noise * temperature) * mask, mask, speaker)
        source = None
        if f0 is not None and source_noise is not None:
            source = self.dec.m_source(f0, self.hop, self.rate, source_noise)
        return Stages(mean, logs, z, source, self.dec(z * mask, source, speaker)[:, 0])
