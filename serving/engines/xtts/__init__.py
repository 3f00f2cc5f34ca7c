"""XTTS v2: multilingual speech that clones a voice from seconds of reference audio."""

from serving.engines.xtts.engine import XttsEngine

__all__ = ["XttsEngine"]
