"""The sentences in the decoder's rows: in, a token further, out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

import torch

from serving.engines.base import FinishReason, Sampling
from serving.engines.xtts.cache import SlotCache
from serving.engines.xtts.decoder import Decoder, Prompt
from serving.engines.xtts.readback import Readback
from serving.engines.xtts.scheduler import Scheduler
from serving.engines.xtts.sentence import Request, Sentence
from serving.errors import EngineError

logger = logging.getLogger(__name__)

POSITIONS = {"cpu": 32, "cuda": 128}
"""Attention reads a multiple of so many positions: fewer on a CPU, where reading costs; few sizes for CUDA graphs."""

LAUNCHED_AHEAD = {"cpu": 0, "cuda": 1}
"""Steps that are launched before the tokens of an earlier one are looked at, so that a GPU never waits for the host."""

Step = Callable[[SlotCache, int, int], torch.Tensor]


class Decoding:
    """Runs the rows of ``scheduler.active``; row r of the cache belongs to ``active[r]``.

    ``step`` advances rows: the decoder's own, or one that replays CUDA graphs.
    """

    def __init__(self, decoder: Decoder, scheduler: Scheduler, cache: SlotCache, step: Step | None = None) -> None:
        kind = decoder.device.type
        self._decoder = decoder
        self._scheduler = scheduler
        self._cache = cache
        self._step = step or decoder.step
        self._positions = POSITIONS[kind]
        self._ahead = LAUNCHED_AHEAD[kind]
        self._launched: deque[tuple[Readback, list[tuple[Sentence, int]]]] = deque()
        self.tokens = 0
        """All audio tokens so far, for statistics."""

    def start(self, sentences: Sequence[Sentence], sampling: Callable[[Request], Sampling]) -> None:
        """Read the prompts of ``sentences`` into free rows, or put back what they had when they made room."""
        fresh = [sentence for sentence in sentences if sentence.saved is None]
        for sentence in sentences:
            if sentence.saved is not None:
                self._cache.restore(self._take_row(sentence), sentence.saved, sentence.position)
                sentence.saved = None
        for group in [fresh] if self._scheduler.limits.padded and fresh else [[sentence] for sentence in fresh]:
            prompts = [
                Prompt(sentence.request.conditioning.gpt_cond_latent[0], sentence.piece.tokens) for sentence in group
            ]
            first = len(self._scheduler.active)
            for sentence, prompt in zip(group, prompts, strict=True):
                options = sampling(sentence.request)
                sentence.position = prompt.length
                sentence.greedy = options.top_k == 1
                self._cache.begin(self._take_row(sentence), options, sentence.seed)
            self._launch(self._decoder.prefill(prompts, self._cache, first), group)

    def step(self) -> bool:
        """Launch a step of all active sentences; False when there is none. Then look at tokens that have arrived."""
        active = self._scheduler.active
        if active:
            needed = max(sentence.position for sentence in active) + 1
            positions = min(-(-needed // self._positions) * self._positions, self._cache.shape.positions)
            tokens = self._step(self._cache, len(active), positions)
            for sentence in active:
                sentence.position += 1
            self._launch(tokens, active)
        self.collect(leave=self._ahead if active else 0)
        return bool(active)

    def collect(self, leave: int = 0) -> None:
        """Look at the tokens of all launched steps but the last ``leave``."""
        while len(self._launched) > leave:
            readback, rows = self._launched.popleft()
            for (sentence, attempt), token in zip(rows, readback.get().tolist(), strict=True):
                if sentence.row is not None and sentence.attempt == attempt:
                    self._take(sentence, token)

    def suspend(self, sentence: Sentence) -> None:
        """Take ``sentence`` out of its row, to be put back later; it stays where the device has no memory for that."""
        self.collect()
        if sentence.row is None:
            return
        try:
            sentence.saved = self._cache.save(sentence.row, sentence.position)
        except torch.OutOfMemoryError:
            logger.warning("the device has no memory for a sentence that makes room for others, so it keeps its slot")
            self._scheduler.stay()
        else:
            self.release(sentence)

    def release(self, sentence: Sentence) -> None:
        """Free the row of ``sentence``, if it has one; the last active row moves there."""
        if sentence.row is None:
            return
        active = self._scheduler.active
        last = active.pop()
        if last is not sentence:
            self._cache.move(len(active), sentence.row, last.position)
            active[sentence.row] = last
            last.row = sentence.row
        sentence.row = None

    def latents(self, sentence: Sentence) -> torch.Tensor:
        """What the vocoder reads, float32 [at least ``sentence.tokens``, channels]."""
        if sentence.latents is not None:
            return sentence.latents
        if sentence.saved is not None:
            return sentence.saved.latents
        assert sentence.row is not None
        return self._cache.latents[sentence.row]

    def forget(self) -> None:
        """Let go of all rows, whatever is in them."""
        self._launched.clear()
        for sentence in self._scheduler.active:
            sentence.row = None
        self._scheduler.active.clear()
        self._cache.reset()

    def _take_row(self, sentence: Sentence) -> int:
        sentence.row = len(self._scheduler.active)
        self._scheduler.active.append(sentence)
        return sentence.row

    def _launch(self, tokens: torch.Tensor, sentences: Sequence[Sentence]) -> None:
        self._launched.append((Readback(tokens), [(sentence, sentence.attempt) for sentence in sentences]))

    def _take(self, sentence: Sentence, token: int) -> None:
        if token < 0:
            self._scrub(sentence)
            sentence.request.fail(EngineError("the decoder's output is not finite; the weights or the device are bad"))
            return
        sentence.tokens += 1
        self.tokens += 1
        if token == self._decoder.shape.stop_audio:
            self._finish(sentence, "stop")
        elif sentence.tokens >= sentence.max_tokens:
            self._end_runaway(sentence)

    def _scrub(self, sentence: Sentence) -> None:
        """Release ``sentence`` and clear what it has left, also where a step that was launched before wrote it."""
        assert sentence.row is not None
        self._cache.clear(slice(sentence.row, sentence.row + 1))
        self.release(sentence)
        if self._ahead:
            self._cache.clear(slice(len(self._scheduler.active), None))

    def _end_runaway(self, sentence: Sentence) -> None:
        """It has no end in sight: try once more with another seed while nobody has heard it, else cut it here."""
        if sentence.attempt == 0 and not sentence.heard and not sentence.greedy:
            logger.info("a sentence of %d characters did not end and is spoken again", len(sentence.piece.text))
            self.release(sentence)
            sentence.restart()
        else:
            logger.warning("a sentence of %d characters was cut: it did not end", len(sentence.piece.text))
            self._finish(sentence, "length")

    def _finish(self, sentence: Sentence, reason: FinishReason) -> None:
        sentence.finish = reason
        sentence.latents = self._cache.latents[sentence.row, : sentence.tokens].clone()
        self.release(sentence)
