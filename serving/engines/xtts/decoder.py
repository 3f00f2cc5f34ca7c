"""XTTS's autoregressive decoder (a GPT-2) over the rows of a ``SlotCache``: prefill a prompt, step all sequences.

The numbers are those of coqui's ``GPT`` with transformers' ``GPT2Model`` inside: learned positions of their own for
text and audio, none for the conditioning latents; GELU in its tanh form; two layer norms at the end. What coqui's
``inference`` computes in a second pass over the finished tokens, the latents for the vocoder, are the states that
predicted the tokens, so they are kept as they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from serving.engines.linear import Linear
from serving.engines.transfer import arrays_to_device
from serving.engines.xtts.cache import DecoderShape, SlotCache
from serving.engines.xtts.sampling import SamplingRows, sample


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm, always in float32."""

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Block:
    """The weights of one layer."""

    before_attention: Norm
    qkv: Linear
    projection: Linear
    before_mlp: Norm
    up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Tables, float32 [entries, channels]."""

    text: torch.Tensor
    text_position: torch.Tensor
    audio: torch.Tensor
    audio_position: torch.Tensor


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a sequence starts from: ``conditioning`` float32 [positions, channels] and the tokens of its text."""

    conditioning: torch.Tensor
    text_tokens: Sequence[int]

    @property
    def length(self) -> int:
        """Positions in the cache: with the two marks around the text and the first audio token."""
        return len(self.conditioning) + len(self.text_tokens) + 3


class Decoder:
    """Weights in ``dtype``; the residual stream, norms, logits and latents are float32 whatever it is."""

    def __init__(
        self,
        shape: DecoderShape,
        blocks: list[Block],
        embeddings: Embeddings,
        norms: tuple[Norm, Norm],
        head: Linear,
        marks: tuple[int, int],
        dtype: torch.dtype,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._blocks = blocks
        self._embeddings = embeddings
        self._norms = norms
        self._head = head
        self._marks = marks

    @property
    def device(self) -> torch.device:
        return self._embeddings.audio.device

    @classmethod
    def take(cls, gpt: Any, dtype: torch.dtype) -> Decoder:
        """Move the weights out of coqui's ``GPT`` (layer by layer, so that they never lie in memory twice)."""
        inner = gpt.gpt
        shape = DecoderShape(
            layers=len(inner.h),
            channels=gpt.model_dim,
            heads=gpt.heads,
            vocabulary=gpt.num_audio_tokens,
            start_audio=gpt.start_audio_token,
            stop_audio=gpt.stop_audio_token,
            max_prompt=gpt.max_prompt_tokens + gpt.max_text_tokens + 1,
            max_audio=gpt.max_gen_mel_tokens,
        )
        blocks = []
        for index in range(shape.layers):
            blocks.append(_block(inner.h[index], dtype))
            inner.h[index] = torch.nn.Identity()
        embeddings = Embeddings(
            gpt.text_embedding.weight.detach(),
            gpt.text_pos_embedding.emb.weight.detach(),
            gpt.mel_embedding.weight.detach(),
            gpt.mel_pos_embedding.emb.weight.detach(),
        )
        head = Linear(gpt.mel_head.weight.detach(), gpt.mel_head.bias.detach())
        marks = (gpt.start_text_token, gpt.stop_text_token)
        return cls(shape, blocks, embeddings, (_norm(inner.ln_f), _norm(gpt.final_norm)), head, marks, dtype)

    def prefill(self, prompts: Sequence[Prompt], cache: SlotCache, first_row: int) -> torch.Tensor:
        """Read ``prompts`` into the rows from ``first_row`` on, which have begun, and choose their first tokens.

        Returns the tokens, int64 [prompts]. Several prompts are computed together, padded to the longest; attention
        looks back only, so the padding behind a prompt changes nothing, and its keys are overwritten before they count.
        """
        with torch.inference_mode():
            lengths, *texts = self._on_device(prompts)
            embedded = [self._embed(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
            x = torch.nn.utils.rnn.pad_sequence(embedded, batch_first=True)
            rows = slice(first_row, first_row + len(prompts))
            for layer, block in enumerate(self._blocks):
                q, k, v = self._qkv(block, x)
                cache.keys[layer, rows, : x.shape[1]] = k
                cache.values[layer, rows, : x.shape[1]] = v
                attended = functional.scaled_dot_product_attention(
                    q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True
                )
                x = self._rest(block, x, attended.transpose(1, 2))
            cache.length[rows] = lengths
            return self._choose(x[cache.row_index[: len(prompts)], lengths - 1], cache, rows)

    def step(self, cache: SlotCache, rows: int, positions: int) -> torch.Tensor:
        """Advance the first ``rows`` sequences by a token; returns the tokens, int64 [rows].

        ``positions`` bounds what attention reads; it exceeds the cached length of every row.
        """
        active = slice(0, rows)
        with torch.inference_mode():
            length = cache.length[active]
            hidden = torch.arange(positions, device=self.device) > length[:, None]
            mask = torch.zeros(hidden.shape, dtype=cache.keys.dtype, device=self.device)
            mask = mask.masked_fill(hidden, -torch.inf)[:, None, None]
            x = self._embeddings.audio[cache.token[active]] + self._embeddings.audio_position[cache.step[active]]
            for layer, block in enumerate(self._blocks):
                q, k, v = self._qkv(block, x[:, None])
                keys, values = cache.keys[layer], cache.values[layer]
                keys[cache.row_index[active], length] = k[:, 0].to(keys.dtype)
                values[cache.row_index[active], length] = v[:, 0].to(values.dtype)
                attended = functional.scaled_dot_product_attention(
                    q.transpose(1, 2).to(keys.dtype),
                    keys[active, :positions].transpose(1, 2),
                    values[active, :positions].transpose(1, 2),
                    attn_mask=mask,
                )
                x = self._rest(block, x[:, None], attended.transpose(1, 2))[:, 0]
            cache.length[active] = (length + 1).clamp(max=self.shape.positions - 1)
            return self._choose(x, cache, active)

    def computes(self) -> bool:
        """Whether the device still turns a state into finite logits."""
        with torch.inference_mode():
            latents = self._norms[1](self._norms[0](self._embeddings.audio[:1]))
            return bool(self._head(latents).isfinite().all())

    def _on_device(self, prompts: Sequence[Prompt]) -> list[torch.Tensor]:
        """int64: the lengths of ``prompts``, and of each the tokens of its text with the marks around them."""
        lengths = np.array([prompt.length for prompt in prompts])
        texts = [np.array([self._marks[0], *prompt.text_tokens, self._marks[1]]) for prompt in prompts]
        return arrays_to_device([lengths, *texts], self.device)

    def _embed(self, prompt: Prompt, tokens: torch.Tensor) -> torch.Tensor:
        tables = self._embeddings
        text = tables.text[tokens] + tables.text_position[: len(tokens)]
        start = tables.audio[self.shape.start_audio] + tables.audio_position[0]
        return torch.cat((prompt.conditioning, text, start[None]))

    def _qkv(self, block: Block, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Each [rows, positions, heads, head size]."""
        mixed = block.qkv(block.before_attention(x).to(self.dtype))
        q, k, v = mixed.view(*x.shape[:2], 3, self.shape.heads, self.shape.head_size).unbind(2)
        return q, k, v

    def _rest(self, block: Block, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        x = x + block.projection(attended.reshape(x.shape).to(self.dtype)).float()
        wide = functional.gelu(block.up(block.before_mlp(x).to(self.dtype)), approximate="tanh")
        return x + block.down(wide).float()

    def _choose(self, x: torch.Tensor, cache: SlotCache, rows: slice) -> torch.Tensor:
        """Latents and tokens from the last states, [rows, channels], written into the cache."""
        latents = self._norms[1](self._norms[0](x))
        index, step = cache.row_index[rows], cache.step[rows]
        cache.latents[index, step] = latents
        options = SamplingRows(*(getattr(cache.sampling, name)[rows] for name in SamplingRows.__slots__))
        tokens = sample(self._head(latents), cache.seen[rows], step, options)
        kept = tokens.clamp(min=0)
        cache.seen[rows].scatter_(1, kept[:, None], value=True)  # [index, kept] = True would read the host's memory
        cache.token[rows] = kept
        cache.step[rows] = (step + 1).clamp(max=self.shape.max_audio)
        return tokens


def _block(layer: Any, dtype: torch.dtype) -> Block:
    """From transformers' ``GPT2Block``, whose ``Conv1D`` weights are [in, out]."""

    def linear(conv: Any) -> Linear:
        return Linear(conv.weight.detach().T.to(dtype), conv.bias.detach().to(dtype))

    return Block(
        _norm(layer.ln_1),
        linear(layer.attn.c_attn),
        linear(layer.attn.c_proj),
        _norm(layer.ln_2),
        linear(layer.mlp.c_fc),
        linear(layer.mlp.c_proj),
    )


def _norm(norm: Any) -> Norm:
    return Norm(norm.weight.detach().float(), norm.bias.detach().float(), norm.eps)
