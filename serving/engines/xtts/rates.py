"""How fast an engine works at present."""

from __future__ import annotations

import time
from collections import deque

SPAN_S = 10.0
"""Rates are means over so long, or over the time since they were asked for before that."""


class Rates:
    """Of two counters that grow: audio tokens, and seconds of audio."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, int, float]] = deque([(time.monotonic(), 0, 0.0)])

    def at(self, tokens: int, audio_s: float) -> tuple[float, float]:
        """Tokens, and seconds of audio, made in a second, now that the counters have come so far."""
        now = (time.monotonic(), tokens, audio_s)
        self._history.append(now)
        while len(self._history) > 2 and now[0] - self._history[1][0] > SPAN_S:
            self._history.popleft()
        then = self._history[0]
        elapsed = max(now[0] - then[0], 1e-3)
        return (now[1] - then[1]) / elapsed, (now[2] - then[2]) / elapsed
