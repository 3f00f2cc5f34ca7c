"""The encoder of the prompt, which computes the silence behind it once.

coqui's ``GPT.get_style_emb`` takes 6 s of mel and goes through all of it, though a prompt has 3 s on average in a
longer clip and half of a shorter one, and silence after that. Nothing in the encoder knows of places: frames that are
alike stay alike in every layer. So one frame of silence stands for all behind it, and only norms and keys, which count
frames, see as many as there are. A batch of short clips has short prompts, and is cheap here too.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from training.xtts.batches import PROMPT_FRAMES


def encode(gpt: torch.nn.Module, prompt: torch.Tensor) -> torch.Tensor:
    """What ``GPT.get_style_emb`` makes of ``prompt``, [b, 32, channels].

    ``prompt`` [b, 80, p] is a mel of at most ``PROMPT_FRAMES``, whose last frame stands for those that are left out.
    Layers do what coqui's do in the same order; gradients of frames that are alike are added up before they go on
    instead of after.
    """
    model: Any = gpt
    frames = model.conditioning_encoder.init(prompt)
    for block in model.conditioning_encoder.attn:
        frames = _attended(block, frames)
    return _resampled(model.conditioning_perceiver, frames.transpose(1, 2))


def _attended(block: Any, frames: torch.Tensor) -> torch.Tensor:
    """coqui's ``AttentionBlock`` over ``frames`` [b, channels, p]: p queries, but the keys of all frames."""
    rows, channels, kept = frames.shape
    normed = block.norm(_all_frames(frames, PROMPT_FRAMES, 2))[:, :, :kept]
    width = channels // block.num_heads
    parts = block.qkv(normed).reshape(rows * block.num_heads, 3 * width, kept).split(width, dim=1)
    scale = 1 / math.sqrt(math.sqrt(width))
    queries = parts[0] * scale
    keys, values = (_all_frames(part, PROMPT_FRAMES, 2) for part in (parts[1] * scale, parts[2]))
    scores = torch.einsum("bct,bcs->bts", queries, keys)
    weights = torch.softmax(scores.float(), dim=-1).type(scores.dtype)
    result = torch.einsum("bts,bcs->bct", weights, values).reshape(rows, channels, kept)
    added: torch.Tensor = normed + block.proj_out(result)
    return added


def _resampled(perceiver: Any, frames: torch.Tensor) -> torch.Tensor:
    """coqui's ``PerceiverResampler`` over ``frames`` [b, p, channels]."""
    latents = perceiver.latents.expand(len(frames), -1, -1)
    for attention, feed_forward in perceiver.layers:
        latents = _looked_up(attention, latents, frames) + latents
        latents = feed_forward(latents) + latents
    result: torch.Tensor = perceiver.norm(latents)
    return result


def _looked_up(attention: Any, latents: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """coqui's perceiver ``Attention`` of ``latents`` to themselves and to all frames."""
    places = latents.shape[1] + PROMPT_FRAMES
    both = _all_frames(attention.to_kv(torch.cat([latents, frames], dim=1)), places, 1)
    parts = (attention.to_q(latents), *both.chunk(2, dim=-1))
    queries, keys, values = (part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in parts)
    result: torch.Tensor = attention.to_out(attention.attend(queries, keys, values).transpose(1, 2).flatten(2))
    return result


def _all_frames(frames: torch.Tensor, count: int, dim: int) -> torch.Tensor:
    """``frames`` with its last one repeated along ``dim`` up to ``count``."""
    shape = list(frames.shape)
    shape[dim] = count - frames.shape[dim]
    return torch.cat([frames, frames.narrow(dim, frames.shape[dim] - 1, 1).expand(shape)], dim=dim)
