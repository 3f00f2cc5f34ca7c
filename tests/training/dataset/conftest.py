"""The tiny model and what listens to recordings: read once, for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.factories.xtts import cached_checkpoint
from training.dataset.base_model import BaseModel
from training.dataset.voice_activity import VoiceActivity


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def base() -> BaseModel:
    """The tokenizer and the speaker encoder of the tiny checkpoint."""
    return BaseModel(cached_checkpoint("tiny"), "xtts_v2@r1")


@pytest.fixture(scope="session")
def activity() -> VoiceActivity:
    """silero-vad; it forgets between recordings."""
    return VoiceActivity()
