"""espeak-ng: intelligible speech on any machine, with no weights, no GPU and no download."""

from serving.engines.espeak.engine import EspeakEngine

__all__ = ["EspeakEngine"]
