"""A voice's weights: on the volume as ``weights.safetensors``, and in memory ready to compute with.

Stored are the tensors of the upload as they came, in its precision (float16 in nearly every ``.pth``) and with weight
norm as its two factors, which are multiplied at load. To store the product in float16 would round every weight once
more (the audio differs by 1e-3 of its peak then, where it is 2e-6 now), and to store it in float32 would double what a
volume has to deliver, to spare 50 ms of computing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from serving.engines.rvc.configuration import RvcConfig
from serving.errors import ModelFilesError
from serving.files import write_atomic

WEIGHTS = "weights.safetensors"
CONFIG = "rvc"
"""The key of the safetensors metadata that holds the configuration as JSON."""

GAIN, DIRECTION = ".weight_g", ".weight_v"


@dataclass(frozen=True, slots=True)
class RvcCheckpoint:
    """A voice: ``weights`` has the names and shapes of ``config.shapes()``. ``notes`` are the reader's remarks."""

    config: RvcConfig
    weights: Mapping[str, torch.Tensor]
    notes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the weights as stored."""
        return sum(tensor.nbytes for tensor in self.weights.values())

    def save(self, directory: Path) -> Path:
        """Write weights.safetensors to ``directory``; raises StorageError and leaves nothing if the volume refuses."""
        path = directory / WEIGHTS
        write_atomic(path, save(dict(self.weights), {CONFIG: self.config.model_dump_json()}))
        return path

    @classmethod
    def load(cls, directory: Path) -> RvcCheckpoint:
        """What ``save`` wrote. Raises ModelFilesError naming the file (and key) if it is missing, torn or another's."""
        path = directory / WEIGHTS
        try:
            # "mmap", the usual backend, keeps 64 bytes of each tensor for ever (safetensors 0.8): 29 kB of a voice
            with safe_open(path, "pt", backend="pread") as file:
                config = RvcConfig.model_validate_json((file.metadata() or {}).get(CONFIG, "null"))
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
        except (SafetensorError, OSError, ValidationError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelFilesError(f"{path} is torn or no RVC voice ({reason}); upload the voice again") from error
        wrong = difference(weights, config)
        if wrong is not None:
            raise ModelFilesError(f"{path}: {wrong}; upload the voice again")
        return cls(config, weights)


def difference(weights: Mapping[str, torch.Tensor], config: RvcConfig) -> str | None:
    """What is wrong with the keys and shapes of ``weights`` for ``config``, in a few words, if anything is."""
    expected = config.shapes()
    for key, shape in expected.items():
        if key not in weights:
            return f"{key} (shape {list(shape)}) is missing"
        if tuple(weights[key].shape) != shape:
            return f"{key} has shape {list(weights[key].shape)} instead of {list(shape)}"
    surplus = sorted(weights.keys() - expected.keys())
    return f"{json.dumps(surplus[0][:100])} is no part of an RVC voice of this kind" if surplus else None


def folded(weights: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """``weights`` in float32 on ``device``, with each ``weight_g`` and ``weight_v`` made one ``weight``.

    That is v g / |v|, the norm over all dimensions but the first, of transposed convolutions too (torch's weight_norm).
    """
    wide = {key: tensor.to(device).float() for key, tensor in weights.items()}
    for key in [key for key in wide if key.endswith(GAIN)]:
        name = key.removesuffix(GAIN)
        gain, direction = wide.pop(key), wide.pop(name + DIRECTION)
        wide[f"{name}.weight"] = direction * (gain / direction.norm(dim=(1, 2), keepdim=True))
    return wide
