"""The serving engine's model with the weights that are being trained."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from serving.engines.memory import give_back
from serving.engines.xtts.checkpoint import LoadedXtts, load_parts, read_config, read_parts, read_speakers
from serving.engines.xtts.weights import check_shapes
from serving.errors import ModelFilesError
from training.xtts.base import PREFIX, Base


def snapshot(base: Base, gpt_state: Mapping[str, torch.Tensor]) -> LoadedXtts:
    """A copy of ``base`` with the decoder's weights ``gpt_state`` (plain names), on the device of ``base``.

    It takes one copy of the model there. Raises ModelFilesError when the weights are not finite, and as
    ``load_checkpoint`` does when the files of ``base`` have changed.
    """
    config = read_config(base.directory)
    parts = read_parts(base.directory, config)
    weights = {PREFIX + name: tensor for name, tensor in gpt_state.items()}
    for name, tensor in weights.items():
        if not tensor.sum().isfinite():
            raise ModelFilesError(f"{name} is not finite after training; train again with a lower learning_rate")
    for name in [name for name in parts.weights if name.startswith(PREFIX)]:
        del parts.weights[name]  # so that one that is missing is missed
    parts.weights.update(weights)
    check_shapes(parts.file, parts.weights, parts.model.state_dict())
    return load_parts(parts, read_speakers(base.directory, config), base.device)


@contextmanager
def apart(device: torch.device) -> Iterator[None]:
    """Let a block draw and take memory without a trace: generators go on as before, and what it freed is given back."""
    devices = [device] if device.type == "cuda" else []
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
        gc.collect()  # an engine refers to itself, and would stay with its copy of the model
        if device.type == "cuda":
            torch.cuda.empty_cache()
        give_back()
