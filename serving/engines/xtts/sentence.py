"""A request on its way through the engine, and the sentences it is spoken as."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serving.engines.base import FinishReason, SpeechChunk, SpeechRequest
from serving.engines.pace import DENSE, estimated_s
from serving.engines.xtts.frames import FrameGrid
from serving.engines.xtts.text import Piece

TOKEN_S = 1024 / 22050
"""Audio of one token, in seconds."""

AHEAD_S = 3.0
"""A stream so far ahead of its listener gives its slot to one that waits."""

RUNAWAY_START_S, RUNAWAY_CHARACTER_S, RUNAWAY_DENSE_S = 4.0, 0.5, 1.5
"""Audio that a sentence may take: so long, and so long for each character. Slow speech takes a third of it."""


@dataclass(eq=False, slots=True)
class Request:
    """What was asked, how far it is, and where its chunks go.

    ``deliver`` takes a chunk, None at the end, or an error that ends it; it is called on the engine's thread.
    """

    asked: SpeechRequest
    language: str
    seed: int
    grid: FrameGrid
    deliver: Callable[[SpeechChunk | BaseException | None], None]
    sentences: list[Sentence] = field(default_factory=list)
    submitted: float = field(default_factory=time.monotonic)
    first_audio: float | None = None
    current: int = 0
    drift_s: float = 0.0
    """How much later than estimated the current sentence began."""
    delivered_s: float = 0.0
    heard_s: float = 0.0
    departed: bool = False
    """The worker has nothing more to do for it."""
    ended: bool = False
    conditioning: Any = None
    """The voice's latents on the device, once its first sentence has been admitted."""

    @property
    def play_start(self) -> float:
        """When its client began to listen, or began to wait: if it goes on with a text, behind the part before."""
        expected = self.submitted + (self.asked.heard_in_s or 0.0)
        return expected if self.first_audio is None else max(expected, self.first_audio)

    @property
    def unheard_s(self) -> float:
        """Audio that the consumer has not taken yet."""
        return self.delivered_s - self.heard_s

    def fail(self, error: BaseException) -> None:
        """End with ``error``; the worker drops what is left of it."""
        if not self.ended:
            self.ended = self.departed = True
            self.deliver(error)

    def hand_over(self) -> None:
        """Deliver what has been made, in the order of the sentences, and the end behind the last one."""
        while not self.ended:
            sentence = self.sentences[self.current]
            while sentence.chunks:
                self._deliver(sentence, sentence.chunks.popleft())
            if not sentence.complete:
                return
            self.current += 1
            if self.current == len(self.sentences):
                self.ended = self.departed = True
                self.deliver(None)
            else:
                self.drift_s = self.delivered_s - self.sentences[self.current].offset_s

    def _deliver(self, sentence: Sentence, chunk: SpeechChunk) -> None:
        if self.first_audio is None:
            self.first_audio = time.monotonic()
        sentence.heard = True
        self.delivered_s += chunk.seconds
        self.deliver(chunk)


@dataclass(eq=False, slots=True)
class Sentence:
    """One sequence of the decoder; ``offset_s`` estimates where in its request's audio it begins."""

    request: Request
    index: int
    piece: Piece
    offset_s: float
    max_tokens: int
    attempt: int = 0
    greedy: bool = False
    """The next token is always the most probable: another seed would change nothing."""
    row: int | None = None
    position: int = 0
    """Cached positions, counting the step that was launched last."""
    tokens: int = 0
    saved: Any = None
    latents: Any = None
    """Its own, once it has left the decoder."""
    finish: FinishReason | None = None
    emitted: int = 0
    """Frames that went through the vocoder."""
    windows: int = 0
    counted: int = 0
    chunks: deque[SpeechChunk] = field(default_factory=deque)
    """Made, and waiting for the sentences before it."""
    heard: bool = False
    """Its first chunk has been delivered."""
    complete: bool = False
    """All its audio has been made."""

    @property
    def seed(self) -> int:
        """Of its own, and another one for a second attempt."""
        return self.request.seed + self.index + (self.attempt << 40)

    @property
    def decoded_s(self) -> float:
        return self.tokens * TOKEN_S / self.request.asked.speed

    @property
    def decode_due(self) -> float:
        """When its client runs out of what has been decoded: the more is there, the later."""
        return self._due(self.decoded_s)

    def vocode_due(self, frame_s: float) -> float:
        """When its client runs out of audio; ``frame_s`` is the length of a frame."""
        return self._due(self.emitted * frame_s)

    def restart(self) -> None:
        """Forget what was decoded and begin again with another seed."""
        self.attempt += 1
        self.row, self.position, self.tokens, self.saved, self.latents, self.finish = None, 0, 0, None, None, None
        self.emitted, self.windows, self.counted = 0, 0, 0
        self.chunks.clear()

    def _due(self, done_s: float) -> float:
        """When its client gets to what is ``done_s`` behind its beginning.

        One with much audio that it has not taken is slower than the clock says: it has to hear that first.
        """
        request = self.request
        position = self.offset_s + request.drift_s + done_s
        due = request.play_start + position
        if request.unheard_s <= AHEAD_S:
            return due
        return max(due, time.monotonic() + max(request.unheard_s, position - request.heard_s))


def split(request: Request, pieces: list[Piece], max_audio: int) -> None:
    """Give ``request`` its sentences; ``max_audio`` bounds the tokens of any."""
    offset = 0.0
    for index, piece in enumerate(pieces):
        limit = budget(piece, request.language, max_audio)
        request.sentences.append(Sentence(request, index, piece, offset, limit))
        offset += estimated_s(piece.text, request.language, request.asked.speed)


def budget(piece: Piece, language: str, max_audio: int) -> int:
    """Audio tokens after which a sentence is taken for one that will not end."""
    per_character = RUNAWAY_DENSE_S if language in DENSE else RUNAWAY_CHARACTER_S
    return min(max_audio, int((RUNAWAY_START_S + per_character * len(piece.text)) / TOKEN_S))
