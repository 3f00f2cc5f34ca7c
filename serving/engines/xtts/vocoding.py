"""Audio of what has been decoded: windows of several sentences at a time, the most urgent first."""

from __future__ import annotations

import math
import operator
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from serving.engines.base import Pcm, SpeechChunk
from serving.engines.xtts.frames import FrameGrid, Window, plan
from serving.engines.xtts.readback import Readback
from serving.engines.xtts.scheduler import Scheduler
from serving.engines.xtts.sentence import Sentence
from serving.engines.xtts.vocoder import Vocoder
from serving.errors import EngineError

WINDOW_TOKENS = (8, 20, 40, 80)
"""Tokens to wait for before the first, second, ... chunk: the first sound comes soon, later ones cost less overhead."""

BATCH_FRAMES = {"cpu": 1, "cuda": 2048}
"""Frames of one batch, roughly. A CPU takes one window at a time: its caches hold no more."""

BUCKET = {"cpu": 1, "cuda": 16}
"""Windows have a multiple of so many frames, which brings windows of equal length together."""

MAX_FRAMES = {"cpu": 256, "cuda": 512}
"""Frames of one window: 2.7 and 5.5 s of audio, so that urgent windows need not wait for longer ones."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A window on its way from the device."""

    sentence: Sentence
    attempt: int
    window: Window
    ends: bool
    audio: Readback
    row: int


class Vocoding:
    """Makes audio of the sentences of ``scheduler`` and hands it to their requests."""

    def __init__(
        self,
        vocoder: Vocoder,
        scheduler: Scheduler,
        latents: Callable[[Sentence], torch.Tensor],
        sample_rate: int,
    ) -> None:
        self._vocoder = vocoder
        self._scheduler = scheduler
        self._latents = latents
        self._sample_rate = sample_rate
        self._frame_s = vocoder.hop / sample_rate
        self._batch_frames = BATCH_FRAMES[vocoder.device.type]
        self._bucket = BUCKET[vocoder.device.type]
        self._max_frames = MAX_FRAMES[vocoder.device.type]
        self._made: deque[_Made] = deque()
        self.audio_s = 0.0
        """All audio so far in seconds, for statistics."""

    def turn(self, *, wait: bool) -> bool:
        """Make one batch, hand over what has arrived; with ``wait``, all of it. False if there was nothing to do."""
        silent = self._end_silent()
        batch = self._choose()
        if batch:
            self._make(batch)
        busy = bool(silent or batch or self._made)
        while self._made and (wait or self._made[0].audio.ready):
            self._arrive(self._made.popleft())
        return busy

    def forget(self) -> None:
        """Drop what is on its way."""
        self._made.clear()

    def _end_silent(self) -> bool:
        """Complete sentences so short and so fast that not a frame is left of them; False if there was none."""
        silent = [s for s in self._scheduler.speaking() if s.finish and not s.request.grid.total(s.tokens)]
        for sentence in silent:
            sentence.complete = True
            sentence.request.hand_over()
        return bool(silent)

    def _choose(self) -> list[tuple[Sentence, Window]]:
        """The most urgent window that is ready, and others of its length.

        While somebody is about to hear nothing, streams that are far ahead wait: their audio would hold up the decoder.
        """
        ready: list[tuple[Sentence, Window]] = []
        latest = self._scheduler.latest_due()
        for due, sentence in sorted(
            ((sentence.vocode_due(self._frame_s), sentence) for sentence in self._scheduler.speaking()),
            key=operator.itemgetter(0),
        ):
            if due > latest:
                break
            window = self._window(sentence)
            if window is None or (ready and window.length != ready[0][1].length):
                continue
            ready.append((sentence, window))
            if len(ready) * window.length >= self._batch_frames:
                break
        return ready

    def _window(self, sentence: Sentence) -> Window | None:
        """What can be made of ``sentence`` now; None while it is less than its next chunk should be."""
        grid, finished = sentence.request.grid, sentence.finish is not None
        if not finished:
            wanted = WINDOW_TOKENS[min(sentence.windows, len(WINDOW_TOKENS) - 1)]
            if sentence.tokens - latents_of(grid, sentence.emitted) < wanted:
                return None
        available = grid.total(sentence.tokens) if finished else grid.ready(sentence.tokens)
        return plan(sentence.emitted, available, finished=finished, max_frames=self._max_frames, bucket=self._bucket)

    def _make(self, batch: list[tuple[Sentence, Window]]) -> None:
        frames = self._vocoder.frames(
            [(self._latents(sentence)[: sentence.tokens], sentence.request.grid, window) for sentence, window in batch]
        )
        embeddings = torch.cat([sentence.request.conditioning.speaker_embedding for sentence, _ in batch])
        audio = Readback(self._vocoder.synthesize(frames, embeddings))
        for row, (sentence, window) in enumerate(batch):
            sentence.emitted = window.last
            sentence.windows += 1
            ends = sentence.finish is not None and window.last == sentence.request.grid.total(sentence.tokens)
            self._made.append(_Made(sentence, sentence.attempt, window, ends, audio, row))

    def _arrive(self, made: _Made) -> None:
        sentence, window = made.sentence, made.window
        request = sentence.request
        if request.ended or made.attempt != sentence.attempt:
            return
        pcm: Pcm = made.audio.get()[made.row, window.samples(self._vocoder.hop)].copy()
        if not _finite(pcm):
            request.fail(EngineError("the vocoder's output is not finite; the weights or the device are bad"))
            return
        chunk = SpeechChunk(pcm, self._sample_rate, *self._usage(made))
        sentence.chunks.append(replace(chunk, finish_reason=sentence.finish) if made.ends else chunk)
        if made.ends:
            sentence.complete, sentence.latents = True, None
        self.audio_s += chunk.seconds
        request.hand_over()

    def _usage(self, made: _Made) -> tuple[int, int]:
        """Text and audio tokens that this chunk adds."""
        sentence = made.sentence
        spoken = sentence.tokens if made.ends else latents_of(sentence.request.grid, made.window.last)
        added, sentence.counted = spoken - sentence.counted, spoken
        return (len(sentence.piece.tokens) if made.window.first == 0 else 0), added


def latents_of(grid: FrameGrid, frames: int) -> int:
    """How many latents, so audio tokens, that many frames are made of, roughly."""
    return int(frames / math.prod(stage.scale for stage in grid.stages))


def _finite(pcm: Pcm) -> bool:
    """A sum is not finite when a sample is not; it needs no array of its own."""
    return bool(abs(float(pcm.sum())) < float("inf"))
