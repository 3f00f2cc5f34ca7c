"""How long a text takes to speak, roughly: only the order of work depends on it, never the audio."""

from __future__ import annotations

CHARACTER_S, DENSE_S = 0.07, 0.21
"""Speech takes about so long for a character, and for one of ``DENSE``."""

DENSE = ("zh", "ja", "ko")
"""Languages whose characters are syllables or more."""


def estimated_s(text: str, language: str, speed: float) -> float:
    """Seconds of audio of ``text``; ``language`` is a code with or without a region ("zh", "zh-CN")."""
    base = language.lower().replace("_", "-").split("-")[0]
    return (DENSE_S if base in DENSE else CHARACTER_S) * len(text) / speed
