"""Requests cut into sentences as the engine cuts them, for the parts of an engine that are tested alone."""

from __future__ import annotations

import queue
from types import SimpleNamespace

from serving.engines.base import Sampling, SpeechChunk, SpeechRequest, Voice
from serving.engines.xtts.frames import FrameGrid
from serving.engines.xtts.sentence import Request, split
from serving.engines.xtts.text import Piece

RELEASED = SimpleNamespace(
    input_sample_rate=22050, output_sample_rate=24000, output_hop_length=256, gpt_code_stride_len=1024
)
MAX_AUDIO = 602
WAIT_S = 60.0
"""Longer than anything that is waited for takes on a busy machine."""


class Listener:
    """Where a request delivers to: what came is in ``chunks``, and how it ended in ``error``, once it has ``ended``."""

    def __init__(self) -> None:
        self.chunks: list[SpeechChunk] = []
        self.error: BaseException | None = None
        self.ends = 0
        self._arriving: queue.Queue[SpeechChunk | BaseException | None] = queue.Queue()

    def __call__(self, item: SpeechChunk | BaseException | None) -> None:
        if isinstance(item, SpeechChunk):
            self.chunks.append(item)
        else:
            self.error = item
            self.ends += 1
        self._arriving.put(item)

    @property
    def ended(self) -> bool:
        return self.ends > 0

    def wait_for_chunk(self) -> None:
        assert isinstance(self._arriving.get(timeout=WAIT_S), SpeechChunk)

    def wait_for_end(self) -> BaseException | None:
        """The error, or None when all has been spoken."""
        while isinstance(item := self._arriving.get(timeout=WAIT_S), SpeechChunk):
            pass
        return item


def make_request(
    *texts: str,
    deliver: Listener | None = None,
    language: str = "en",
    speed: float = 1.0,
    seed: int = 1,
    sampling: Sampling | None = None,
    heard_in_s: float | None = None,
) -> Request:
    """A request with a sentence for each of ``texts``, whose characters stand for text tokens."""
    voice = Voice("ada", preset="Ada")
    asked = SpeechRequest(" ".join(texts), voice, language, speed, seed, sampling or Sampling(), heard_in_s)
    request = Request(asked, language, seed, FrameGrid.of(RELEASED, speed), deliver or Listener())
    split(request, [Piece(text, tuple(ord(letter) % 500 for letter in text)) for text in texts], MAX_AUDIO)
    return request
