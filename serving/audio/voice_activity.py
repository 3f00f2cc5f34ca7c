"""Where somebody speaks, by silero-vad's ONNX file: numpy and onnxruntime, no torch in the process that listens."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.audio.pcm import Pcm
from serving.audio.resample import resample

SAMPLE_RATE = 16000
WINDOW = 512
WINDOW_S = WINDOW / SAMPLE_RATE
CONTEXT = 64
"""Samples before a window that the model hears with it."""

BLOCK = 512
"""Windows in one call of the model: 16 s."""

SPEECH = 0.5
"""A window with a probability from here up is speech: silero's own threshold."""


def speech_probabilities(pcm: Pcm, sample_rate: int) -> npt.NDArray[np.float32]:
    """How likely somebody speaks in each window of 32 ms of ``pcm`` [samples]: float32 [windows], the last one padded.

    May be called from several threads.
    """
    heard = resample(pcm, sample_rate, SAMPLE_RATE)
    windows = np.concatenate([heard, np.zeros(-len(heard) % WINDOW, np.float32)]).reshape(-1, WINDOW)
    before = np.zeros((len(windows), CONTEXT), np.float32)
    before[1:] = windows[:-1, -CONTEXT:]
    inputs = np.concatenate([before, windows], axis=1)
    h = c = np.zeros((1, 1, 128), np.float32)
    found = [np.zeros(0, np.float32)]
    for start in range(0, len(inputs), BLOCK):
        block = inputs[start : start + BLOCK]
        probabilities, h, c = _model().run(["speech_probs", "hn", "cn"], {"input": block, "h": h, "c": c})
        found.append(probabilities)
    return np.concatenate(found)


@cache
def _model() -> Any:
    import onnxruntime

    package = importlib.util.find_spec("silero_vad")  # found, not imported: that would import torch
    assert package is not None
    assert package.submodule_search_locations is not None
    file = Path(package.submodule_search_locations[0]) / "data" / "silero_vad_16k_sequence.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
