"""How long a text takes to speak, roughly: only the order of work depends on it, never the audio."""

from __future__ import annotations

CHARACTER_S = 0.07
"""Speech takes about so long for a character."""


def estimated_s(text: str, speed: float) -> float:
    """Seconds of audio of ``text``."""
    return CHARACTER_S * len(text) / speed
