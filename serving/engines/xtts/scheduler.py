"""Who is next: which sentence enters the decoder, which leaves it for a while, whose audio is made first.

One rule for all three: the sentence whose listener runs out of audio first. Someone who still waits for the first sound
ran out when the request came; later sentences of a long text are due when what comes before them has been played. So
new requests start at once, a stream that is seconds ahead makes room, and an idle device works ahead.

No tensors here: the worker does what this decides.
"""

from __future__ import annotations

import heapq
import math
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from serving.engines.xtts.sentence import AHEAD_S, Request, Sentence
from serving.errors import Overloaded

HURRIED_S = 0.5
"""A listener who has so little audio left is about to hear nothing."""

CONDITIONING = 32
"""Positions of a prompt before its text, in XTTS v2."""

STAY_S = 10.0
"""So long after a device had no memory to spare, it is asked again."""

UNHEARD_S = 60.0
"""Audio that may lie unheard before a request's work stops."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``slots``: sentences decoded at a time. ``prefill_tokens``: prompt positions read between two steps;
    ``padded``: prompts are read together, each as long as the longest. ``queue``: requests that may wait for a slot;
    ``queue_age_s``: how long the first of them may have waited when another one is taken. ``saved``: cached positions
    that sentences out of their rows may keep in all.
    """

    slots: int
    prefill_tokens: int
    queue: int = 256
    queue_age_s: float = 30.0
    padded: bool = False
    saved: int = sys.maxsize


class Scheduler:
    """The requests of one engine, and the sentences in its rows: ``active[row]``."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests: list[Request] = []
        self.active: list[Sentence] = []
        self._stay_until = -math.inf
        self.finished: deque[tuple[float, float]] = deque(maxlen=64)
        """Of the latest new requests: seconds to the first audio, and seconds of work per second of audio."""

    def submit(self, request: Request) -> None:
        """Take ``request``; raises Overloaded when too many wait, or wait too long, unless it goes on with a text."""
        if request.asked.heard_in_s is None:
            self._check_queue()
        self.requests.append(request)

    def _check_queue(self) -> None:
        waiting = len(self.waiting())
        if waiting >= self.limits.queue:
            raise Overloaded(f"the engine is busy and {waiting} requests wait; try again shortly", 1)
        age = self.queue_age_s()
        if age > self.limits.queue_age_s:
            raise Overloaded(f"the engine is busy, the first waiting request has waited {age:.0f} s; try again", 5)

    def remove(self, request: Request) -> None:
        """Forget ``request``, whose sentences have left the decoder."""
        self.requests.remove(request)
        new = request.asked.heard_in_s is None
        if new and request.first_audio is not None and request.current == len(request.sentences):
            took = time.monotonic() - request.submitted
            self.finished.append((request.first_audio - request.submitted, took / request.delivered_s))

    def unstarted(self) -> list[Request]:
        """Requests of which nothing has been decoded."""
        return [request for request in self.requests if _untouched(request.sentences[0])]

    def waiting(self) -> list[Request]:
        """Those of ``unstarted`` whose listeners hear nothing: not who still hears the part of a text before it."""
        now = time.monotonic()
        return [request for request in self.unstarted() if request.play_start <= now]

    def queue_age_s(self) -> float:
        """How long the oldest of ``waiting`` has waited."""
        return max((time.monotonic() - request.play_start for request in self.waiting()), default=0.0)

    def admit(self) -> list[Sentence]:
        """The sentences to read into free rows now, most urgent first."""
        free = self.limits.slots - len(self.active)
        chosen: list[Sentence] = []
        prompts: list[int] = []
        for sentence in heapq.nsmallest(free, self._waiting(), _decode_due) if free else ():
            if not sentence.saved:
                prompts.append(CONDITIONING + len(sentence.piece.tokens))
                read = max(prompts) * len(prompts) if self.limits.padded else sum(prompts)
                if read > self.limits.prefill_tokens and chosen:
                    break
            chosen.append(sentence)
        return chosen

    def yielding(self) -> Sentence | None:
        """An active sentence that should make room: all rows are taken and one far more urgent than it waits.

        None also where there is no memory for what it has cached.
        """
        now = time.monotonic()
        if len(self.active) < self.limits.slots or now < self._stay_until:
            return None
        ahead = max(self.active, key=_decode_due)
        latest = ahead.decode_due - AHEAD_S
        if latest < now or self.saved_positions() + ahead.position > self.limits.saved:
            return None
        return ahead if any(sentence.decode_due <= latest for sentence in self._waiting()) else None

    def saved_positions(self) -> int:
        """What sentences that made room have cached."""
        return sum(s.position for request in self.requests for s in self._near(request) if s.saved is not None)

    def stay(self) -> None:
        """Nobody makes room for a while: the device has no memory for what a sentence has cached."""
        self._stay_until = time.monotonic() + STAY_S

    def latest_due(self) -> float:
        """What is due after this can wait: infinity, unless a listener is about to hear nothing."""
        now = time.monotonic()
        hurried = any(sentence.decode_due < now + HURRIED_S for sentence in self.active)
        return now + AHEAD_S if hurried else math.inf

    def speaking(self) -> Iterator[Sentence]:
        """Sentences with something decoded and not all of it made audio, of requests that can take audio."""
        for request in self.requests:
            if request.unheard_s < UNHEARD_S:
                yield from (s for s in self._near(request) if s.tokens and not s.complete)

    def _waiting(self) -> Iterator[Sentence]:
        """Sentences that may enter the decoder."""
        for request in self.requests:
            if request.unheard_s < UNHEARD_S:
                yield from (s for s in self._near(request) if s.row is None and s.finish is None)

    def _near(self, request: Request) -> list[Sentence]:
        """The sentences not too far beyond the one that is heard: no others are worked on."""
        return request.sentences[request.current : request.current + self.limits.slots]


def _untouched(sentence: Sentence) -> bool:
    return sentence.attempt == 0 and sentence.row is None and sentence.tokens == 0 and sentence.finish is None


def _decode_due(sentence: Sentence) -> float:
    return sentence.decode_due
