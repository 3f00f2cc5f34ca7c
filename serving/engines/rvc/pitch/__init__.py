"""Pitch: the fundamental frequency that drives a voice, how it is found and how it is shaped."""

from serving.engines.rvc.pitch.base import PitchMethod, frame_count
from serving.engines.rvc.pitch.registry import AUTO, METHODS, choose, open_pitch

__all__ = ["AUTO", "METHODS", "PitchMethod", "choose", "frame_count", "open_pitch"]
