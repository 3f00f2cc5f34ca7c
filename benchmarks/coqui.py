"""coqui's own ``Xtts``, timed, and a checkpoint whose utterances have a length that is known before."""

from __future__ import annotations

import functools
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from serving.audio.pcm import Pcm
from serving.engines.xtts.checkpoint import quiet_transformers
from tests.factories.xtts import VOCODER_WIDTH, Size, cached_checkpoint

PUSH = {"tiny": (-3.0, 20.0), "full": (-10.0, 50.0)}
"""How far audio positions are moved, to keep the stop token out of reach before the end, and to take it there."""

HEAD, POSITIONS, STOP = "gpt.mel_head.weight", "gpt.mel_pos_embedding.emb.weight", 1025


def fixed_checkpoint(size: Size, tokens: int, directory: Path) -> Path:
    """A copy of the factory's checkpoint in ``directory`` that says exactly ``tokens`` audio tokens, the stop included.

    The factory's stop token sees one direction of the states and no other token does. Along it the copy's positions
    lie on the one side up to the last one, and far on the other from there on. Neither model knows, so neither has to
    be bent: both end by themselves, whatever the text, the voice and the seed.
    """
    source = cached_checkpoint(size)
    shutil.copytree(source, directory, ignore=shutil.ignore_patterns("model.pth"))
    state = torch.load(source / "model.pth", mmap=True, weights_only=True)["model"]
    direction = torch.nn.functional.normalize(state[HEAD][STOP], dim=0)
    positions = state[POSITIONS].clone()
    positions -= torch.outer(positions @ direction, direction)
    before, after = PUSH[size]
    positions[: tokens - 1] += before * direction
    positions[tokens - 1 :] += after * direction
    torch.save({"model": state | {POSITIONS: positions}}, directory / "model.pth")
    return directory


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds of the clock and of this process's CPUs."""

    wall: float
    cpu: float

    def __add__(self, other: Span) -> Span:
        return Span(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Span) -> Span:
        return Span(self.wall - other.wall, self.cpu - other.cpu)

    def __truediv__(self, count: float) -> Span:
        return Span(self.wall / count, self.cpu / count)


def now() -> Span:
    return Span(time.perf_counter(), time.process_time())


@dataclass(frozen=True, slots=True)
class Utterance:
    """What one call of ``inference`` gave and took; ``decode`` is per token, without the prompt's prefill."""

    audio: Pcm
    whole: Span
    decode: Span


class Coqui:
    """The model in ``directory`` loaded by coqui's own loader, which may write there. One request at a time."""

    def __init__(self, directory: Path, size: Size, device: torch.device) -> None:
        from TTS.tts.configs.xtts_config import XttsConfig
        from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
        from TTS.tts.models import xtts

        config = XttsConfig()
        config.load_json(str(directory / "config.json"))
        decoder = functools.partial(HifiDecoder, upsample_initial_channel_decoder=VOCODER_WIDTH[size])
        with patch.object(xtts, "HifiDecoder", decoder), quiet_transformers():
            self._model: Any = xtts.Xtts(config)
            self._model.load_checkpoint(config, checkpoint_dir=str(directory), eval=True)
        self._model.to(device)
        self._sampling = {
            name: getattr(config, name) for name in ("temperature", "repetition_penalty", "top_k", "top_p")
        }

    def speak(self, text: str, speaker: str, language: str, tokens: int, *, greedy: bool = False) -> Utterance:
        """One ``inference``; the utterance has to have as many ``tokens``."""
        ticks: list[Span] = []

        def tick(ids: torch.Tensor, _: object, **__: object) -> torch.Tensor:
            """Called by transformers after every token; ends nothing."""
            ticks.append(now())
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

        with quiet_transformers():
            began = now()
            audio: Pcm = self._model.inference(
                text,
                language,
                *self._model.speaker_manager.speakers[speaker].values(),
                do_sample=not greedy,
                stopping_criteria=[tick],
                **self._sampling,
            )["wav"]
            whole = now() - began
        assert len(ticks) == tokens, f"coqui said {len(ticks)} tokens instead of {tokens}"
        return Utterance(audio, whole, (ticks[-1] - ticks[0]) / (tokens - 1))

    def first_chunk_s(self, text: str, speaker: str, language: str) -> float:
        """Seconds to the first chunk of ``inference_stream``, at its own chunk size of 20 tokens."""
        voice = self._model.speaker_manager.speakers[speaker].values()
        with quiet_transformers():
            began = time.perf_counter()
            stream = self._model.inference_stream(text, language, *voice, **self._sampling)
            next(stream).cpu()
            took = time.perf_counter() - began
            stream.close()
        return took
