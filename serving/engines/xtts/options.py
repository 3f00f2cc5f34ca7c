"""How an XTTS engine uses its device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from serving.engines.xtts.cache import DecoderShape
from serving.engines.xtts.scheduler import Limits
from serving.engines.xtts.vocoder import Precision

DecoderPrecision = Literal["auto", "float32", "bfloat16"]

SLOTS = {"cpu": 8, "cuda": 64}
"""Sentences decoded at a time by default: as many as still make the device faster."""

PREFILL_TOKENS = {"cpu": 128, "cuda": 2048}
"""Prompt positions read between two steps, with padding, so that running streams do not stall."""

SLOTS_PER_SAVED = 4
"""Sentences that make room for others may keep as many positions as one slot in so many has."""


@dataclass(frozen=True, slots=True)
class XttsOptions:
    """``slots`` None takes the device's default, or as many as half of a GPU's free memory holds.

    ``decoder_precision`` auto is bfloat16 on a GPU and float32 on a CPU. ``queue`` requests may wait for a slot, and
    none is taken while the first of them has waited for longer than ``queue_age_s``.
    """

    slots: int | None = None
    decoder_precision: DecoderPrecision = "auto"
    vocoder_precision: Precision = "tf32"
    cuda_graphs: bool = True
    queue: int = 256
    queue_age_s: float = 30.0

    def limits(self, device: torch.device, shape: DecoderShape) -> Limits:
        """For a decoder of ``shape`` on ``device``."""
        slots = self.slots or SLOTS[device.type]
        if self.slots is None and device.type == "cuda":
            torch.cuda.empty_cache()  # what loading has left counts as free
            free, _ = torch.cuda.mem_get_info(device)
            slots = max(1, min(slots, free // 2 // shape.slot_bytes(self.cache(device))))
        padded = device.type == "cuda"  # a CPU is busy with one prompt, and padding would only cost
        saved = max(1, slots // SLOTS_PER_SAVED) * shape.positions
        return Limits(slots, PREFILL_TOKENS[device.type], self.queue, self.queue_age_s, padded, saved)

    def weights(self, device: torch.device) -> torch.dtype:
        """The decoder's weights."""
        if self.decoder_precision == "auto":
            return torch.bfloat16 if device.type == "cuda" else torch.float32
        dtype: torch.dtype = getattr(torch, self.decoder_precision)
        return dtype

    def cache(self, device: torch.device) -> torch.dtype:
        """Keys and values: float32 on a CPU, whose attention is slower on anything else."""
        return self.weights(device) if device.type == "cuda" else torch.float32
