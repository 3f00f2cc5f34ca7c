"""Two models of one name, which differ in every weight and in a preset."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from serving.engines.base import Pcm, SpeechEngine, SpeechRequest, Voice
from serving.engines.xtts import XttsEngine, XttsOptions
from serving.engines.xtts.checkpoint import SPEAKERS
from tests.factories.xtts import cached_checkpoint

SEEDS = {"r1": 0, "r2": 1}
NEW_PRESET = "Dora"
"""The preset that only r2 has."""

LONG = "One sentence follows another one. " * 6
SHORT = "A new request."


def checkpoint(revision: str, directory: Path) -> Path:
    """The files of ``revision`` in ``directory``, which the caller may change."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in cached_checkpoint("tiny", SEEDS[revision]).iterdir():
        shutil.copyfile(file, directory / file.name)
    if revision == "r2":
        speakers = torch.load(directory / SPEAKERS, weights_only=True)
        speakers[NEW_PRESET] = speakers.pop("Carl")
        torch.save(speakers, directory / SPEAKERS)
    return directory


def open_tiny(directory: Path, revision: str) -> XttsEngine:
    torch.set_num_threads(1)
    options = XttsOptions(slots=4)
    return XttsEngine.load(directory, model="xtts_v2", revision=revision, device="cpu", options=options)


def request(text: str = LONG, preset: str = "Ada", **more: object) -> SpeechRequest:
    return SpeechRequest(text, Voice(preset, preset=preset), "en", seed=3, **more)  # type: ignore[arg-type]


async def heard(engine: SpeechEngine, asked: SpeechRequest) -> Pcm:
    return np.concatenate([chunk.pcm async for chunk in engine.stream(asked)])
